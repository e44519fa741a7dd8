#!/bin/sh
# --dry-run of training: what it says, for models that fit and that do not, without taking their memory.
set -eu
. "$(dirname "$0")/lib.sh"
megabytes() { sed -n 's/^memory  *\([0-9]*\) MB$/\1/p' plan; }

lafs-synth -q --people 3 -n 2 --aligned -o faces.tar
huge="--dim 4096 --depth 64 --heads 64 --mlp 65536" # 39 thousand million parameters: more than 600 GB
for program in "lafs-pretrain --landmarks grid --out-dim 1000" "lafs-finetune --tokens grid"; do
    plan="$program --dry-run -j 1 --batch 4 --micro 4 --epochs 3 --warmup 1"
    # shellcheck disable=SC2086
    expect_status 0 $plan --size xs faces.lafs >plan
    for line in parameters memory steps work time; do check grep -q "^$line  *[a0-9]" plan; done
    check [ "$(megabytes)" -gt 5 ]
    check [ "$(megabytes)" -lt 2000 ]
    hasnt stderr "will not fit"
    # shellcheck disable=SC2086
    expect_status 0 $plan $huge faces.lafs >plan
    check [ "$(megabytes)" -gt 600000 ]
    check grep -q "^time " plan
    message "training will not fit"
    ok "${program%% *} --dry-run"
done
