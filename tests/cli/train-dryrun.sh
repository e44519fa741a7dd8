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

# A header, in which images is 2^63 - 1.
printf '\204\250__lafs__\001\246pixels\203\244size\160\247aligner\247arcface\250channels\243rgb' >views
printf '\246images\323\177\377\377\377\377\377\377\377\244prov\220' >>views
expect_status 2 lafs-pretrain --dry-run --landmarks grid --batch 4 --micro 4 --epochs 3 --warmup 1 <views
message "3 epochs of 9223372036854775807 images are too many"
ok "steps beyond any number"

# What the pages say of grids.
for grid in 8:196 10:121 12:81 14:64 16:49; do
    for program in "lafs-finetune --stage 1 --tokens grid" "lafs-pretrain --landmarks grid"; do
        # shellcheck disable=SC2086
        expect_status 0 $program --dim 64 --depth 1 --heads 1 --mlp 64 --batch 2 --patch "${grid%:*}" \
            --patches "${grid#*:}" --dry-run faces.lafs >plan
    done
    expect_status 2 lafs-finetune --stage 1 --tokens grid --batch 2 --patch ${grid%:*} --patches 25 --dry-run \
        faces.lafs
    message "a grid has ${grid#*:} patches of --patch ${grid%:*}, --patches is 25"
done
ok "a grid has as many patches as fit"

# What stands for "not given" inside is no value that can be given.
for option in "finetune --lr -1" "finetune --warmup -1" "finetune --landmark-reg -0.5" "finetune --depth 0" \
    "pretrain --warmup -1" "pretrain --temp-epochs -1" "pretrain --local-min -1" "pretrain --local-max -1" "pretrain --dim 0"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-${option%% *} --dry-run --batch 2 ${option#* } faces.lafs
    message "${option##* } is not within"
done
ok "values that mean nothing are refused"

# What training would start from is looked at, whether it is a model.
mkdir -p some
for program in "lafs-pretrain --landmarks grid --init" "lafs-finetune --init" "lafs-finetune --landmarks"; do
    # shellcheck disable=SC2086
    expect_status 1 $program some --dry-run --batch 2 faces.lafs
    message "'some' is a directory; a run's model is model.safetensors in it"
    # shellcheck disable=SC2086
    expect_status 1 $program views --dry-run --batch 2 faces.lafs
    message "'views': no safetensors file"
done
head -n 4 faces.lafs >cut.lafs
expect_status 3 lafs-finetune --dry-run --batch 2 cut.lafs
message "'cut.lafs' is cut off"
ok "no models, and half an index"
