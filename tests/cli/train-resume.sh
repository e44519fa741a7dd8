#!/bin/sh
# Runs survive: killed at random moments by SIGKILL, stopped by SIGTERM, they go on to the bit.
set -eu
. "$(dirname "$0")/lib.sh"

seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "# SEED=$seed"
rand() { # a number of seconds, 0.00 to 0.79
    seed=$(awk -v s="$seed" 'BEGIN { printf "%.0f", (s * 1103515245 + 12345) % 2147483648 }')
    awk -v s="$seed" 'BEGIN { printf "%.2f", (s % 80) / 100 }'
}
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; }

lafs-synth -q --people 4 -n 4 --aligned -o faces.tar
tiny="--dim 64 --depth 1 --heads 1 --mlp 64 -q -j 2 --seed 3 --checkpoint-every 1"
finetune="lafs-finetune $tiny --stage 1 --batch 4 --micro 2 --epochs 3 --warmup 1 --mixup 0.5"
pretrain="lafs-pretrain $tiny --out-dim 32 --hidden 32 --bottleneck 16 --batch 4 --epochs 3 --warmup 1 --landmarks whole-f/model.safetensors"

# killed RUN INDEX CMD...: the same command again and again, killed at random moments, until it ends by itself
killed() {
    run=$1 faces=$2 rounds=0
    shift 2
    while :; do
        "$@" -o "$run" "$faces" 2>>"$run.err" & pid=$!
        if [ $rounds -lt "$kills" ]; then
            sleep "$(rand)"
            kill -9 $pid 2>/dev/null || true
        fi
        if wait $pid 2>/dev/null; then break; fi
        rounds=$((rounds + 1))
        [ $rounds -lt 40 ] || { cat "$run.err" >&2; return 1; }
    done
    echo "# $run: killed $rounds times"
}

# Ten times slower under a sanitizer of threads: one program and few kills must do there.
kinds='f p' kills=12
[ "${SAN:-}" = thread ] && kinds=f kills=2
for kind in $kinds; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    # shellcheck disable=SC2086
    expect_status 0 $command -o whole-$kind faces.lafs
    # shellcheck disable=SC2086
    check killed part-$kind faces.lafs $command
    losses whole-$kind >whole.losses
    losses part-$kind >part.losses
    check [ "$(wc -l <whole.losses)" -eq 12 ]
    same whole.losses part.losses
    same whole-$kind/model.safetensors part-$kind/model.safetensors
    ok "killed-$kind: a run killed at random goes on to the bit"

    # SIGTERM: the state is written, the process dies of the signal, and the next start goes on
    # shellcheck disable=SC2086
    $command -o term-$kind faces.lafs 2>stderr & pid=$!
    while [ ! -s term-$kind/log.jsonl ]; do sleep 0.05; done
    kill -TERM $pid 2>/dev/null || true
    status=0
    wait $pid || status=$?
    check [ $status -eq 143 -o $status -eq 0 ]
    # shellcheck disable=SC2086
    expect_status 0 $command -o term-$kind faces.lafs
    losses term-$kind >term.losses
    same whole.losses term.losses
    ok "term-$kind: SIGTERM leaves a state to go on from"

    expect_status 1 lafs-embed -q -m "$(ls whole-$kind/checkpoint-*.safetensors | head -n 1)" -o never.mp faces.lafs
    message "it is a checkpoint; at the end of a run its model is in model.safetensors"
    ok "checkpoint-$kind: no model, and said to be what it is"

    # shellcheck disable=SC2086
    expect_status 2 $command -o whole-$kind --lr 0.01 faces.lafs
    message "lr was"
    ok "options-$kind: changed options are refused by name"
done

# What could not be begun may be given other options, with no other name.
expect_status 1 $finetune --epochs 1 --warmup 0 --depth 5 --init whole-f/model.safetensors -o unbegun faces.lafs
message "'whole-f/model.safetensors': its ViT has --depth"
expect_status 0 $finetune --epochs 1 --warmup 0 --init whole-f/model.safetensors -o unbegun faces.lafs
ok "a run that failed before its first step takes other options"

# How far pretraining has come is seen from its checkpoint; one of fine-tuning is no start.
if [ -e whole-p ]; then # with the thread sanitizer there is none
    newest=$(ls whole-p/checkpoint-*.safetensors | sort -t - -k 3 -n | tail -n 1)
    for init in "$newest" whole-p/model.safetensors; do
        expect_status 0 $finetune --epochs 1 --warmup 0 --stage 3 --init "$init" --landmarks whole-f/model.safetensors \
            -o "seen-$(basename "${init%.*}")" faces.lafs
    done
    losses "seen-$(basename "${newest%.*}")" >checkpoint.losses
    losses seen-model >model.losses
    same checkpoint.losses model.losses
    ok "fine-tuning goes on from a checkpoint of pretraining"
fi
expect_status 1 $finetune --epochs 1 --warmup 0 --init "$(ls whole-f/checkpoint-*.safetensors | head -n 1)" -o never faces.lafs
message "it is a checkpoint; at the end of a run its model is in model.safetensors"
ok "a checkpoint of fine-tuning is no start"

# A run says by its digest where it began: the model may move, but not change; and the model that it leaves says so, too.
digest=$(sha256sum <whole-f/model.safetensors | cut -d' ' -f1)
mkdir elsewhere
cp whole-f/model.safetensors elsewhere/part
lafs-convert -q --set licence=other -o elsewhere/other.safetensors whole-f/model.safetensors
for kind in $kinds; do
    if [ $kind = f ]; then command="$finetune --epochs 1 --warmup 0"; else command="$pretrain --epochs 1 --warmup 0"; fi
    for init in whole-f/model.safetensors elsewhere/part; do
        # shellcheck disable=SC2086
        expect_status 0 $command -o from-$kind --init $init faces.lafs
    done
    has from-$kind/config.json "\"init\": \"$digest\""
    lafs-show from-$kind/model.safetensors >shown
    has shown "begun from $digest"
    # shellcheck disable=SC2086
    expect_status 2 $command -o from-$kind --init elsewhere/other.safetensors faces.lafs
    message "init was"
    ok "init-$kind: where a run began, by its digest"
done

# A checkpoint under another's name: where the run stands is not to be known.
for kind in $kinds; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    cp -r whole-$kind renamed-$kind
    mv renamed-$kind/checkpoint-12.safetensors renamed-$kind/checkpoint-99.safetensors
    # shellcheck disable=SC2086
    expect_status 1 $command -o renamed-$kind faces.lafs
    message "'renamed-$kind': the checkpoint of step 99 says that it is of step 12"
    same renamed-$kind/log.jsonl whole-$kind/log.jsonl
    ok "renamed-$kind: a checkpoint of another step than its name's is refused"
done

loud="lafs-finetune --dim 64 --depth 1 --heads 1 --mlp 64 -j 2 --tokens grid --batch 4 --epochs 1 --warmup 0 -o loud faces.lafs"
# shellcheck disable=SC2086
expect_status 0 $loud
message "lafs-finetune: 4 steps done, the model is 'loud/model.safetensors'"
# shellcheck disable=SC2086
expect_status 0 $loud
message "lafs-finetune: the run is complete since before: its model is 'loud/model.safetensors'"
ok "the last word: where the model is"
