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
# shellcheck disable=SC2086
lafs-finetune $tiny --stage 1 --batch 4 --dry-run faces.lafs >plan
lafs-show part/model.safetensors >shown
check [ "$(awk '/^parameters/ { print $2 }' plan)," = "$(awk '/^parameters/ { print $2 }' shown)" ]
has shown ', and 22558 values of statistics, in '
lafs-show part/checkpoint-2.safetensors >shown
has shown ': a checkpoint of a training run'
check grep -q '^values  *[0-9]* in [0-9]* tensors' shown
ok "a model has as many parameters as its plan, and a checkpoint is called one"
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

# shellcheck disable=SC2086
expect_status 0 lafs-pretrain $tiny --globals 1 --locals 3 --landmarks part/model.safetensors -o single faces.lafs
sed 's/.*"loss": \([^,]*\),.*"entropy": \([^,]*\), "kl": \([^,]*\),.*/\1 \2 \3/' single/log.jsonl |
    awk '{ d = $1 - $2 - $3 } d > 1e-5 || d < -1e-5 { bad++ } END { exit bad || NR != 4 }' || fail_ "$(cat single/log.jsonl)"
ok "the log: with one global view, the loss is entropy + kl"

for run in part one four; do
    check [ "$(grep -c ', "wait": [01]\.[0-9]*}$' $run/log.jsonl)" -eq "$(wc -l <$run/log.jsonl)" ]
done
ok "wait: every line of the log says what share of the step waited for data"

# A photo that cannot be read stops training at its own step, however far ahead it was read.
cp faces.tar broken.tar
sed 's/faces\.tar/broken.tar/' faces.lafs >broken.lafs
key=s000001/s000001_0002
at=$(grep -abo "$key.jpg" broken.tar | head -1 | cut -d: -f1)
printf 'no picture' | dd of=broken.tar bs=1 seek=$((at + 512)) conv=notrunc status=none
for j in 1 3; do
    # shellcheck disable=SC2086
    expect_status 1 lafs-pretrain $tiny -j $j --landmarks part/model.safetensors -o broken$j broken.lafs
    message "image '$key'"
    losses broken$j >broken.losses
    check [ "$(wc -l <broken.losses)" -eq 1 ]
    head -n "$(wc -l <broken.losses)" one.losses >want
    same want broken.losses
done
same broken1/config.json broken3/config.json
ok "a broken photo is said at its step"

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

# Training that fails does not wait for its producer.
mkfifo stalls
{ head -c 7000000 views; sleep 100; } >stalls 2>/dev/null &
producer=$!
# shellcheck disable=SC2086
expect_status 1 timeout 60 sh -c 'trap "" XFSZ; ulimit -f 8; exec lafs-pretrain "$@"' - $tiny --checkpoint-every 1 -o failed <stalls
message "file too large"
kill $producer 2>/dev/null || true
ok "pipe: a failure ends it, though the producer stands still"

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

# No program would take a model of such pictures.
lafs-synth -q --people 2 -n 2 -o photos.tar
lafs-synth -q --people 2 -n 2 | lafs-detect -q --align-only --size 224 -o large.tar
for program in "lafs-pretrain --landmarks grid" "lafs-pretrain --method dino" "lafs-finetune --stage 1"; do
    expect_status 2 $program -o refused photos.lafs
    message "'photos.lafs': these are photos, not aligned faces, which the model wants: lafs-detect makes them"
    expect_status 2 $program -o refused large.lafs
    message "'large.lafs': the faces are 224 pixels wide, the model wants 112"
done
lafs-augment -q --render photos.lafs >views.mp
expect_status 2 lafs-pretrain --landmarks grid -o refused <views.mp
message "'standard input': these are photos"
check [ ! -e refused ]
ok "photos that are not aligned, and crops of another size, are not trained on"
