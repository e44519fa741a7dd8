#!/bin/sh
# The jobs of examples/slurm, as a whole on few faces: sbatch, srun and scontrol are shims that carry out at once, on this
# machine, what Slurm would do on many.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/ranks.inc"
jobs=$TOP/examples/slurm
for f in "$jobs"/*.sbatch "$jobs/submit"; do check bash -n "$f"; done
for f in "$jobs"/*.sbatch; do check [ "$(sed -n 2p "$f" | cut -c1-19)" = "#SBATCH --job-name=" ]; done
ok "scripts are whole"
if [ -n "${SAN:-}" ]; then
    skip "examples/slurm" "with sanitizers it takes minutes, and each of its programs has tests of its own"
    exit 0
fi

mkdir shims
cat >shims/sbatch <<'END'
#!/bin/bash
# Takes the options that submit gives and the script's own; runs it for each task of the array; refuses a job that waits
# for one that has failed.
set -u
array=0 after= nodes=1 tasks=1 cpus=
option() {
    case "$1" in
    --array=*) array=${1#*=} array=${array%%%*} ;;
    --dependency=afterok:*) after=${1##*:} ;;
    --nodes=*) nodes=${1#*=} ;;
    --ntasks-per-node=*) tasks=${1#*=} ;;
    --cpus-per-task=*) cpus=${1#*=} ;;
    --parsable | --kill-on-invalid-dep=yes | --output=* | --job-name=* | --time=* | --signal=USR2@300 | --requeue | --open-mode=append) ;;
    *) echo "sbatch: no option '$1'" >&2; exit 1 ;;
    esac
}
words=()
while [[ ${1:-} = --* ]]; do words+=("$1"); shift; done
for word in $(sed -n 's/^#SBATCH //p' "$1") "${words[@]}"; do option "$word" || exit 1; done
id=$(($(cat queue/number 2>/dev/null || echo 100) + 1))
echo $id >queue/number
echo "$id;cluster"
[ -z "$after" ] || [ -e "queue/done.$after" ] || exit 0
cp "$1" queue/spooled # Slurm runs a copy, elsewhere
shift
export SLURM_JOB_ID=$id SLURM_CPUS_PER_TASK=$cpus SHIM_TASKS=$((nodes * tasks))
for i in $(seq "${array%-*}" "${array#*-}"); do
    [ "$array" = 0 ] || export SLURM_ARRAY_TASK_ID=$i
    bash queue/spooled "$@" >>"queue/log.$id" 2>&1 </dev/null || { echo "job $id: status $?" >>queue/failed; exit 0; }
done
touch queue/done.$id
END
cat >shims/srun <<'END'
#!/bin/sh
# As many processes as the job has tasks; status 140 for the first call while there is a file queue/interrupt.
while :; do case "$1" in --mpi=pmix | --kill-on-bad-exit=1 | --cpus-per-task=*) shift ;; --*) exit 99 ;; *) break ;; esac; done
echo "$SHIM_TASKS: $*" >>queue/srun
if [ -e queue/interrupt ]; then rm queue/interrupt; exit 140; fi
LAFS_BIN=$(dirname "$(command -v "$1")")
. "$TOP/tests/cli/ranks.inc"
ranks "$SHIM_TASKS" "$@"
END
cat >shims/scontrol <<'END'
#!/bin/sh
echo "$*" >>queue/scontrol
END
chmod +x shims/*
mkdir queue
PATH=$PWD/shims:$PATH

no_failure() { # of a job; what it said is in its log
    [ ! -e queue/failed ] || { cat queue/failed && tail -n 20 queue/log.*; } >&2
    check [ ! -e queue/failed ]
}

for i in 1 2; do lafs-synth -q --people 3 --people-from $((i * 10)) -n 3 -o photos$i.tar; done
small="-q --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 6 --micro 3 --epochs 1 --warmup 0"
export OUT=out NODES=2 TASKS=1 CPUS=1 DETECT="-q --align-only" STAGE1="$small" FINETUNE="$small"
export PRETRAIN="$small --out-dim 32 --hidden 32 --bottleneck 16"
expect_status 0 "$jobs/submit" photos1.tar photos2.tar >said
has said "jobs: faces 101, index 102, stage 1 103, pretraining 104, fine-tuning 105"
no_failure
check [ "$(lafs-show --count out/train.lafs)" -eq 18 ]
for run in part ssl ft; do check [ -s out/$run/model.safetensors ]; done
check [ "$(grep -c '^2: lafs-' queue/srun)" -eq 3 ]
ok "the line: an array of tars, one index, three trainings of two processes"

cp -r out/faces faces.before
expect_status 0 "$jobs/submit" photos1.tar photos2.tar >said
no_failure
check diff -r faces.before out/faces
ok "submitted again, what is done is not done again"

number=$(cat queue/number)
expect_status 1 "$jobs/submit" photos2.tar photos1.tar
message "was begun with other tars"
expect_status 1 env SBATCH=--no-such "$jobs/submit" photos1.tar photos2.tar
message "sbatch: no option '--no-such'"
check [ "$(cat queue/number)" -eq "$number" ]
check diff -r faces.before out/faces
ok "other tars are refused; where one job is not taken, none of those behind it is handed in"

rm -r out/ft
touch queue/interrupt
expect_status 0 env SLURM_JOB_ID=7 SHIM_TASKS=2 bash "$jobs/train.sbatch" lafs-finetune --nothing
has queue/scontrol "requeue 7"
expect_status 2 env SLURM_JOB_ID=7 SHIM_TASKS=2 SLURM_CPUS_PER_TASK=1 bash "$jobs/train.sbatch" lafs-finetune --nothing
check [ "$(wc -l <queue/scontrol)" -eq 1 ]
ok "a training whose time is over goes back into the queue; one that fails does not"

echo "no tar" >photos2.tar
rm -r out
expect_status 0 "$jobs/submit" photos1.tar photos2.tar >said
has queue/failed "status"
check [ ! -e out/train.lafs ]
check [ ! -e out/part ]
expect_status 2 "$jobs/submit"
expect_status 1 "$jobs/submit" nowhere.tar
message "there is no 'nowhere.tar'"
ok "a tar that fails keeps the rest from starting"
