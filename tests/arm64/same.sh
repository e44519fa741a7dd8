#!/bin/sh
# What this machine's programs write, arm64's write, too: photos, both trainings, embeddings in every precision, figures,
# matches and boxes. TEST_NATIVE: where this machine's programs are; TEST_RUN: the emulator.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
if "$TEST_NATIVE/lafs-embed" --version -v | grep -q 'device cpu: cpu, plain'; then
    skip same "plain code rounds otherwise, and this machine has no other"
    exit
fi
mkdir other
for p in "$LAFS_BIN"/lafs-*; do
    case $p in *.so) continue ;; esac
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$TEST_RUN" "$p" >"other/${p##*/}"
    chmod +x "other/${p##*/}"
done

# Of a model, what is not said about it.
tensors() { tail -c +$(($(od -A n -t u8 -N 8 "$1") + 9)) "$1"; }
# Of a log, what is not about time.
steps() { sed 's/"seconds".*//' "$1/log.jsonl"; }

everything() {
    tiny="-q --dim 64 --depth 2 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 4 --epochs 1 --warmup 0"
    lafs-synth -q --people 2 -n 2 --size 160 >photos.mp
    lafs-synth -q --people 4 -n 2 --aligned -o faces.tar --pairs pairs.txt
    # shellcheck disable=SC2086
    lafs-finetune $tiny --stage 1 --mixup 0.5 -o stage1 faces.lafs
    # shellcheck disable=SC2086
    lafs-pretrain $tiny --locals 2 --subset 16 --out-dim 128 --hidden 64 --bottleneck 32 \
        --landmarks stage1/model.safetensors -o ssl faces.lafs
    for m in stage1 ssl; do
        tensors $m/model.safetensors >$m.tensors
        steps $m >$m.steps
    done
    for precision in fp32 bf16 bf16x3; do
        lafs-embed -q -m stage1/model.safetensors --precision $precision faces.lafs >$precision.mp
        lafs-show --npy embedding $precision.mp >$precision.npy
    done
    lafs-verify -q --pairs pairs.txt --json --bootstrap 50 fp32.mp | grep -v -i 'model\|backend' >figures.json
    lafs-search -q -k 3 --probes fp32.mp --json fp32.mp >matches.json
    lafs-detect -q photos.mp | lafs-show --json | sed 's/"image":[^,]*,//' >boxes.json
}
(mkdir native && cd native && PATH=$TEST_NATIVE:$PATH && export PATH && everything)
(mkdir arm64 && cd arm64 && PATH=$work_/other:$PATH && export PATH && everything)

for f in photos.mp faces.tar pairs.txt; do same native/$f arm64/$f; done
ok "the same faces"
for f in stage1 ssl; do
    check [ -s native/$f.steps ]
    for part in steps tensors; do same native/$f.$part arm64/$f.$part; done
done
ok "the same trainings, step by step and to the last bit of the models"
for f in fp32.npy bf16.npy bf16x3.npy figures.json matches.json boxes.json; do
    check [ -s native/$f ]
    same native/$f arm64/$f
done
ok "the same embeddings, figures, matches and boxes"
