#!/bin/sh
# The pipe and the one process give the same losses to the bit, whatever the threads.
set -eu
. "$(dirname "$0")/lib.sh"
weights() { tail -c +$(($(od -An -tu8 -N8 "$1") + 9)) "$1"; } # what stands behind the header of a .safetensors
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; }

lafs-synth -q --people 3 -n 3 --aligned -o faces.tar
tiny="--dim 64 --depth 1 --heads 1 --mlp 64 -q --seed 5"
# shellcheck disable=SC2086
lafs-finetune $tiny --stage 1 --batch 4 --epochs 1 --warmup 0 -o part faces.lafs
tiny="$tiny --out-dim 32 --hidden 32 --bottleneck 16 --batch 4 --epochs 2 --warmup 0"

# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny -j 1 --landmarks part/model.safetensors -o one faces.lafs
# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny -j 4 --landmarks part/model.safetensors -o four faces.lafs
losses one >one.losses
losses four >four.losses
check [ "$(wc -l <one.losses)" -eq 4 ]
same one.losses four.losses
same one/model.safetensors four/model.safetensors
ok "threads: -j changes nothing"

lafs-augment -q --seed 5 --render --epochs 0-2 faces.lafs | lafs-landmark -q -m part/model.safetensors | lafs-patch -q >views
# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny --landmarks part/model.safetensors -o pipe <views
losses pipe >pipe.losses
same one.losses pipe.losses
weights one/model.safetensors >one.weights
weights pipe/model.safetensors >pipe.weights # their metadata say where the data came from
check [ -s one.weights ]
same one.weights pipe.weights
ok "pipe: equal to the one process to the bit"

head -c 2000000 views >cut
# shellcheck disable=SC2086
expect_status 3 lafs-pretrain $tiny -o cut-run <cut
check [ ! -e cut-run/model.safetensors ]
ok "cut: a cut stream is said and leaves no model"

# shellcheck disable=SC2086
expect_status 2 lafs-pretrain $tiny --seed 6 -o other <views
message "--seed 5"
ok "seed: views of another seed are refused"

# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny --landmarks grid -o grid faces.lafs
# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny --method dino -o dino faces.lafs
check [ -s grid/model.safetensors ]
check [ -s dino/model.safetensors ]
ok "grid and dino train too"

# shellcheck disable=SC2086
expect_status 2 lafs-pretrain $tiny --batch 100 --landmarks grid -o big faces.lafs
message "less than one batch"
ok "batch: less than one batch is an error"
