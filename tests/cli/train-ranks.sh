#!/bin/sh
# Several processes train what one trains, to the bit; what one of them fails of, all stop for.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/ranks.inc"
# shellcheck disable=SC2016
leave_pid='echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"'
last_checkpoint() { find "$1" -name 'checkpoint-*' | sed 's/\(.*checkpoint-\)\([0-9]*\)/\2 &/' | sort -n | tail -n 1 | cut -d' ' -f2; }

lafs-synth -q --people 4 -n 3 --aligned -o faces.tar
small="--dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 -q -j 1 --batch 6 --micro 2 --epochs 3 --warmup 1
    --checkpoint-every 2"
finetune="lafs-finetune $small --stage 1 --mixup 0.5"
pretrain="lafs-pretrain $small --out-dim 32 --hidden 32 --bottleneck 16 --landmarks whole-f/model.safetensors"

# A signal to one of them stops all of them, after the same step.
a_signal_to_one() {
    # shellcheck disable=SC2086
    ranks 2 sh -c "$leave_pid" - $finetune --epochs 200 --checkpoint-every 1000 -o stopped faces.lafs 2>stderr &
    while [ ! -s stopped/log.jsonl ] && kill -0 $!; do sleep 0.05; done
    kill -USR2 "$(cat pid.1)"
    status=0
    wait $! || status=$?
    check [ $status -eq $((128 + 12)) ]
    has "$(last_checkpoint stopped)" cursor
    check [ "stopped/checkpoint-$(wc -l <stopped/log.jsonl).safetensors" = "$(last_checkpoint stopped)" ]
    ok "a signal to one stops all, after the same step"
}
if [ "${SAN:-}" = thread ]; then # ten times slower, and this is where threads meet
    a_signal_to_one
    exit 0
fi

for kind in f p; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    # shellcheck disable=SC2086
    expect_status 0 $command -o whole-$kind faces.lafs
    # shellcheck disable=SC2086
    expect_status 0 ranks 3 $command -o three-$kind faces.lafs
    equal whole-$kind three-$kind
    check [ "$(wc -l <three-$kind/log.jsonl)" -eq 6 ]
    ok "$kind: three processes give what one gives, to the bit"
    [ -z "${SAN:-}" ] || continue # tests/cli/train-resume.sh goes on with runs; all of this takes eight minutes so

    # shellcheck disable=SC2086
    expect_status 0 ranks 2 $command -o two-$kind faces.lafs # 3 micro-batches: one process waits for the other
    equal whole-$kind two-$kind
    rm two-$kind/model.safetensors "$(last_checkpoint two-$kind)"
    # shellcheck disable=SC2086
    expect_status 0 ranks 3 $command -o two-$kind faces.lafs
    equal whole-$kind two-$kind
    rm two-$kind/model.safetensors "$(last_checkpoint two-$kind)"
    # shellcheck disable=SC2086
    expect_status 0 $command -o two-$kind faces.lafs
    equal whole-$kind two-$kind
    ok "$kind: what two began goes on with three, or with one, to the bit"
done

# A frozen landmark CNN stays as it is, its statistics too.
frozen_stays() {
    frozen="$finetune --init whole-f/model.safetensors --freeze-landmarks"
    # shellcheck disable=SC2086
    expect_status 0 $frozen -o frozen faces.lafs
    # shellcheck disable=SC2086
    expect_status 0 ranks 3 $frozen -o frozen-three faces.lafs
    equal frozen frozen-three
    for run in whole-f frozen; do lafs-convert --select stn. -o $run.stn.safetensors $run/model.safetensors; done
    weights() { tail -c +$(($(od -An -tu8 -N8 "$1") + 9)) "$1"; }
    weights whole-f.stn.safetensors >before
    weights frozen.stn.safetensors >after
    check [ "$(wc -c <before)" -gt 1000000 ]
    same before after
    ok "frozen landmarks stay, to the bit, whatever the number of micro-batches and processes"
}
[ -n "${SAN:-}" ] || frozen_stays

# Classes that are split give the same but for rounding, and checkpoints of the same form.
# The largest relative difference of two runs' losses, of 6 steps.
apart() {
    for run in "$1" "$2"; do sed -n 's/.*"loss": \([-0-9.e+]*\).*/\1/p' "$run/log.jsonl" >"$run.losses"; done
    paste "$1.losses" "$2.losses" | awk '{ d = ($2 - $1) / $1; if (d < 0) d = -d; if (d > most) most = d }
        END { if (NR != 6) exit 1; printf "%.9f\n", most }'
}
near() { check awk "BEGIN { exit !($(apart "$1" "$2") < 0.00005) }"; }
# shellcheck disable=SC2086
expect_status 0 ranks 3 $finetune --classifier split -o split faces.lafs
echo "note losses of 6 steps with 4 classes split among three processes differ by $(apart whole-f split) at most"
near whole-f split
check sh -c '! cmp -s whole-f/model.safetensors split/model.safetensors'
for f in whole-f/*.safetensors; do check [ "$(wc -c <"$f")" -eq "$(wc -c <"split/${f##*/}")" ]; done
for n in 2 1; do
    [ -z "${SAN:-}" ] || break
    rm split/model.safetensors "$(last_checkpoint split)"
    # shellcheck disable=SC2086
    if [ $n = 1 ]; then expect_status 0 $finetune --classifier split -o split faces.lafs
    else expect_status 0 ranks $n $finetune --classifier split -o split faces.lafs; fi
    near whole-f split
done
ok "classes split among processes: the same but for rounding, and what three began goes on with two, or with one"

a_signal_to_one

# What one cannot read is said once, by name.
cp faces.tar broken.tar
sed 's/faces\.tar/broken.tar/' faces.lafs >broken.lafs
key=s000001/s000001_0002
at=$(grep -abo "$key.jpg" broken.tar | head -1 | cut -d: -f1)
printf 'no picture' | dd of=broken.tar bs=1 seek=$((at + 512)) conv=notrunc status=none
# shellcheck disable=SC2086
expect_status 1 ranks 3 $pretrain -o broken-run broken.lafs
message "of 3: image '$key'"
check [ "$(grep -c "image '$key'" stderr)" -eq 1 ]
ok "what one cannot read ends all, and is said once, by name"

# shellcheck disable=SC2086
expect_status 2 ranks 4 $finetune -o many faces.lafs
message "4 processes cannot share the 3 micro-batches"
check [ "$(wc -l <stderr)" -eq 1 ]
# shellcheck disable=SC2086
expect_status 2 ranks 2 $pretrain -o pipe -
message "cannot share a stream"
# shellcheck disable=SC2086
expect_status 2 ranks 2 sh -c 'exec "$@" --seed $((7 + OMPI_COMM_WORLD_RANK)) -o differ faces.lafs' - $finetune
message "process 1 has other options"
check [ ! -e differ ]
# shellcheck disable=SC2086,SC2016
expect_status 2 ranks 2 sh -c '[ $OMPI_COMM_WORLD_RANK = 0 ] || export LAFS_CPU=plain; exec "$@" -o differ faces.lafs' - $finetune
message "process 1 computes on 'cpu, plain"
check [ ! -e differ ]
# shellcheck disable=SC2086
expect_status 0 ranks 2 $finetune --dry-run -o none faces.lafs >plan
check [ "$(grep -c '^memory' plan)" -eq 1 ]
mkdir -p apart/bin
cp -L "$LAFS_BIN/lafs-finetune" apart/bin
# shellcheck disable=SC2086
expect_status 1 env OMPI_COMM_WORLD_SIZE=2 LAFS_BACKEND_PATH=/nonexistent PATH="$PWD/apart/bin:$PATH" $finetune -o alone faces.lafs
message "cannot join the other processes: there is no lafs-mpi.so in /nonexistent or in $PWD/apart/lib/lafs, nor beside the program"
echo "no library" >apart/bin/lafs-mpi.so
# shellcheck disable=SC2086
expect_status 1 env OMPI_COMM_WORLD_SIZE=2 LAFS_BACKEND_PATH= PATH="$PWD/apart/bin:$PATH" $finetune -o alone faces.lafs
message "cannot load '$PWD/apart/bin/lafs-mpi.so'"
rm apart/bin/lafs-mpi.so
# shellcheck disable=SC2086
expect_status 0 env OMPI_COMM_WORLD_SIZE=2 LAFS_BACKEND_PATH=/nonexistent PATH="$PWD/apart/bin:$PATH" $finetune --ranks none -o alone faces.lafs
equal whole-f alone
ok "misuse is said once; --ranks none"

[ -z "${SAN:-}" ] || mpi_missing="under sanitizers MPI itself has leaks and races"
if [ -n "$mpi_missing" ]; then
    skip "MPI" "$mpi_missing"
    exit 0
fi
launcher=mpi
for kind in f p; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    # shellcheck disable=SC2086
    expect_status 0 ranks 2 $command -o mpi-$kind faces.lafs
    equal whole-$kind mpi-$kind
done
ok "mpirun: two processes give what one gives, to the bit"

# shellcheck disable=SC2086
ranks 2 sh -c "$leave_pid" - $finetune --epochs 5000 --checkpoint-every 1 -o killed faces.lafs 2>stderr &
while [ ! -d killed ] || [ -z "$(last_checkpoint killed)" ] && kill -0 $!; do sleep 0.05; done
kill -9 "$(cat pid.1)"
status=0
wait $! || status=$?
check [ $status -ne 0 ]
check [ -s stderr ]
check [ -s "$(last_checkpoint killed)" ]
ok "mpirun: a process that is killed ends the others, with a message"
