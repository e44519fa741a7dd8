#!/bin/sh
# Memory planned up front, on a simulated GPU that has little: what programs say that they need is what they then take, to
# the block; what does not fit is refused before it begins, and what the message offers fits, and nothing larger does.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained
export LAFS_BACKEND_PATH="$LAFS_BIN/tests/cuda/sim" LAFS_SIM_PEAK="$PWD/peak"

# with BLOCKS COMMAND..: of 2 MiB
with() {
    LAFS_SIM_MEMORY=$(($1 * 2097152))
    export LAFS_SIM_MEMORY
    shift
    "$@"
}
# A figure of the last message, in blocks: all are whole numbers of them.
figure() { sed -n "s/.* \([0-9.]*\) MB $1.*/\1/p" stderr | awk '{printf "%d", $1 * 1e6 / 2097152 + 0.5}'; }
offer() { sed -n "s/.*: $1 \([0-9]*\) fits (\([0-9.]*\) MB).*/\1/p" stderr; }
offer_blocks() { sed -n "s/.* fits (\([0-9.]*\) MB).*/\1/p" stderr | awk '{printf "%d", $1 * 1e6 / 2097152 + 0.5}'; }

# exactly OPTION WANTED NEXT ENOUGH COMMAND..: the command with OPTION WANTED takes what it says, with the memory for that,
# and with one block less is told to take fewer, which then fit; NEXT: the next choice behind a number.
exactly() {
    option=$1 wanted=$2 next=$3 little=$4
    shift 4
    rm -rf out
    expect_status 1 with "$little" "$@" "$option" "$wanted" -o out
    message "MB are free"
    check [ ! -e out ]
    need=$(figure "are needed") used=$((little - $(figure "are free")))
    expect_status 1 with $((used + need - 1)) "$@" "$option" "$wanted" -o out
    fewer=$(offer "$option")
    check [ "$fewer" -ge 1 ]
    check [ "$fewer" -lt "$wanted" ]
    few=$(offer_blocks)
    expect_status 0 with $((used + few)) "$@" "$option" "$fewer" -o out
    check [ "$(cat peak)" = $(((used + few) * 2097152)) ]
    rm -rf out
    more=$($next "$fewer")
    [ "$more" -lt "$wanted" ] || more=$wanted
    expect_status 1 with $((used + need - 1)) "$@" "$option" "$more" -o out
    message "MB are free"
    expect_status 0 with $((used + need)) "$@" "$option" "$wanted" -o out
    check [ "$(cat peak)" = $(((used + need) * 2097152)) ]
}
one_more() { echo $(($1 + 1)); }
twice() { echo $((2 * $1)); }

exactly --batch 9 one_more 20 lafs-embed -q --device cuda -m m.safetensors faces.lafs
ok "lafs-embed"

tiny="-j 2 --device cuda --dim 64 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 8 --epochs 1 --warmup 0 --depth 1"
# shellcheck disable=SC2086
exactly --micro 8 twice 20 lafs-pretrain -q $tiny --precision bf16 --locals 1 --out-dim 500 --hidden 64 --bottleneck 32 \
    --landmarks m.safetensors faces.lafs
ok "lafs-pretrain"
# Of a tar that does not say what it holds, so pictures of any size, and verified after its epoch by fewer photos than are
# embedded at once.
lafs-synth -q --people 3 -n 3 --size 150 -o any.tar
mkdir any
tar -C any --exclude='__*' --exclude='*.mp' -xf any.tar
rm any.lafs any.tar
tar -C any --sort=name -cf any.tar .
for i in 1 2 3 4 5; do
    echo "s000000/s000000_0001 s000000/s000000_0002 1"
    echo "s000000/s000000_0001 s000001/s000001_000$((i % 3 + 1)) 0"
done >pairs
# shellcheck disable=SC2086
exactly --micro 8 twice 20 lafs-finetune -q $tiny --stage 3 --landmarks m.safetensors --pairs pairs \
    --pairs-index faces.lafs any.tar
ok "lafs-finetune"

# All of a batch at once needs no array for what the passes of a step add up, here one of 50 MB.
parts="lafs-pretrain -q $tiny --landmarks grid --locals 0 --out-dim 100000 --hidden 64 --bottleneck 128 faces.lafs -o out"
# shellcheck disable=SC2086
expect_status 1 with 20 $parts --batch 2 --micro 1
blocks=$(figure "are needed")
# shellcheck disable=SC2086
expect_status 1 with $((blocks - 1)) $parts --batch 2 --micro 1
check [ "$(offer --micro)" = 2 ]
ok "one pass may need less than two"

# What a dry run says is what the refusal says, and it refuses nothing.
for program in "lafs-pretrain --precision bf16 --locals 1 --out-dim 500 --hidden 64 --bottleneck 32 --landmarks grid" \
    "lafs-finetune --stage 1 --tokens grid"; do
    rm -rf out
    # shellcheck disable=SC2086
    expect_status 0 with 8 $program $tiny faces.lafs --dry-run >said
    message "training does not fit: "
    cp stderr dry
    check grep -q "^free  *[0-9]* MB of the device's 17 MB$" said
    # shellcheck disable=SC2086
    expect_status 1 with 8 $program $tiny faces.lafs -o out
    message "$(sed 's/.*training does not fit: //' dry)"
    need=$(figure "are needed" | awk '{printf "%.0f", $1 * 2.097152}')
    check [ "$(sed -n 's/^memory  *\([0-9]*\) MB$/\1/p' said)" = "$need" ]
done
ok "a dry run says the same"

# Activations in bf16: at the paper's size and batch a training takes about a third less.
lafs-synth -q --people 82 -n 2 --aligned -o many.tar
memory() { sed -n 's/^memory  *\([0-9]*\) MB$/\1/p' said; }
for program in "lafs-pretrain --landmarks grid" "lafs-finetune --tokens grid"; do
    # shellcheck disable=SC2086
    expect_status 0 with 8 $program --device cuda --size b --batch 164 --micro 164 --dry-run many.lafs -o out >said
    whole=$(memory)
    # shellcheck disable=SC2086
    expect_status 0 with 8 $program --device cuda --size b --batch 164 --micro 164 --precision bf16 --dry-run many.lafs -o out >said
    echo "# $program: $whole and $(memory) MB"
    check [ "$(memory)" -gt $((whole * 55 / 100)) ]
    check [ "$(memory)" -lt $((whole * 72 / 100)) ]
done
ok "bf16 takes less"
