#!/bin/sh
# Training killed just before and just after each fsync and rename: the same command again gives the same model and the
# same losses, to the bit.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
# LD_PRELOAD ends names at blanks.
ln -s "$LAFS_BUILD/tests/inject/shim.so" shim.so
SHIM=$PWD/shim.so

losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; }

# unhurt PROGRAM ARGS...: runs it undisturbed into ./whole, then once for each point at which it can be killed
unhurt() {
    program=$1
    shift
    rm -rf whole count
    expect_status 0 env LD_PRELOAD="$SHIM" LAFS_FAIL_COUNT="$PWD/count" "$program" "$@" -o whole faces.lafs
    losses whole >whole.losses
    points=0
    for kind in fsync-file rename fsync-dir; do
        calls=$(awk -v k=$kind '$1 == k { print $2 }' count)
        check test "$calls" -ge 3 # config.json, a checkpoint, the model
        n=1
        while [ "$n" -le "$calls" ]; do
            for when in "" :after; do
                failed_before=$check_failed_
                check_failed_=0
                rm -rf run
                expect_status 137 env LD_PRELOAD="$SHIM" LAFS_KILL=$kind:$n$when "$program" "$@" -o run faces.lafs
                expect_status 0 "$program" "$@" -o run faces.lafs
                losses run >run.losses
                same whole.losses run.losses
                same whole/model.safetensors run/model.safetensors
                left=$(cd run && find . -name '*.tmp-*')
                [ -z "$left" ] || fail_ "left behind: $left"
                if [ "$check_failed_" -eq 0 ]; then check_failed_=$failed_before
                else fail_ "that was $program killed at $kind:$n$when"; fi
                points=$((points + 1))
            done
            n=$((n + 1))
        done
    done
    ok "$program killed at $points points"
}

lafs-synth -q --people 2 -n 2 --aligned --seed 3 -o faces.tar
tiny="-q -j 1 --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 2 --epochs 1 --warmup 0 --seed 3"
# shellcheck disable=SC2086
unhurt lafs-finetune $tiny --stage 1 --checkpoint-every 1
# shellcheck disable=SC2086
unhurt lafs-pretrain $tiny --landmarks grid --out-dim 32 --hidden 32 --bottleneck 16 --checkpoint-every 1
