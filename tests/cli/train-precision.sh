#!/bin/sh
# --precision of training: recorded, bf16 goes on to the bit and follows the fp32 losses, another one is refused.
set -eu
. "$(dirname "$0")/lib.sh"
ln -s "$LAFS_BIN" bin # make ends names at blanks
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; }
# The largest relative difference of two runs' losses, of 20 steps.
apart() {
    for run in "$1" "$2"; do sed -n 's/.*"loss": \([-0-9.e+]*\).*/\1/p' "$run/log.jsonl" >"$run.losses"; done
    paste "$1.losses" "$2.losses" | awk '{ d = ($2 - $1) / $1; if (d < 0) d = -d; if (d > most) most = d }
        END { if (NR != 20) exit 1; printf "%.6f\n", most }'
}

# The comparison of the examples, as a whole, with models that learn nothing.
compare() {
    (unset MAKEFLAGS MFLAGS MAKELEVEL && cd "$TOP" &&
        make -j2 -f examples/precision.mk OUT="$OLDPWD/precision" BIN="$OLDPWD/bin" \
        UNLABELLED="--people-from 0 --people 8 -n 1" LABELLED="--people-from 100 --people 8 -n 2" \
        TEST="--people-from 200 --people 20 -n 2" \
        PRETRAIN="--preset few-pretrain --batch 4 --micro 4 --epochs 2 --out-dim 64" \
        FINETUNE="--preset few-finetune --stage 1 --batch 8 --micro 8 --epochs 2" JOBS=-j1 "$@")
}
whole_example() {
    expect_status 0 compare >table
    for row in "pixel cosine" fp32 bf16 bf16x3 "trained in fp32, embedded in bf16"; do has table "$row "; done
    for kind in pretrain finetune; do
        for precision in fp32 bf16 bf16x3; do
            check [ "$(grep -c "$kind-$precision</text>" precision/$kind.svg)" -ge 3 ]
            has precision/$kind-$precision/config.json "\"precision\": \"$precision\""
        done
    done
    expect_status 0 compare -n >again
    hasnt again "$LAFS_BIN/lafs-" # all is made
    ok "examples/precision.mk"
}
if [ -n "${SAN:-}" ]; then
    skip "examples/precision.mk" "with sanitizers it takes minutes, and what it trains is trained below, smaller"
else
    whole_example
fi

lafs-synth -q --people 4 -n 5 --aligned -o faces.tar
small="-q -j 2 --dim 64 --depth 2 --heads 1 --mlp 128 --patches 49 --patch 16 --batch 4 --epochs 4 --warmup 1
    --checkpoint-every 3"
finetune="lafs-finetune $small --tokens grid --lr 0.0005" # a landmark CNN would make any difference large
pretrain="lafs-pretrain $small --out-dim 64 --hidden 64 --bottleneck 32 --landmarks grid --lr 0.0005"
for kind in f p; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    for precision in fp32 bf16 bf16x3; do
        # shellcheck disable=SC2086
        expect_status 0 $command --precision $precision -o $kind-$precision faces.lafs
        has $kind-$precision/config.json "\"precision\": \"$precision\""
    done
    two=$(apart $kind-fp32 $kind-bf16) three=$(apart $kind-fp32 $kind-bf16x3)
    echo "note $kind: losses of 20 steps differ from fp32's by $two at most in bf16, $three in bf16x3"
    check awk "BEGIN { exit !($two > 0 && $two < 0.02 && $three < $two) }"
    ok "$kind: bf16 and bf16x3 follow fp32"

    cp -r $kind-bf16 $kind-cut
    last=$(ls $kind-cut/checkpoint-*.safetensors | sed 's/.*-\([0-9]*\)\.safetensors/\1/' | sort -n | tail -n 1)
    rm -f $kind-cut/model.safetensors "$kind-cut/checkpoint-$last.safetensors"
    # shellcheck disable=SC2086
    expect_status 2 $command -o $kind-cut faces.lafs
    message "precision"
    # shellcheck disable=SC2086
    expect_status 0 $command --precision bf16 -o $kind-cut faces.lafs
    losses $kind-bf16 >whole
    losses $kind-cut >cut
    same whole cut
    same $kind-bf16/model.safetensors $kind-cut/model.safetensors
    ok "$kind: a run in bf16 goes on to the bit, and refuses to go on in fp32"
done
