#!/bin/sh
# The jobs of examples/slurm under Slurm itself, on two machines: faces, index and three trainings, as one process gives
# them; one that is told to stop goes back into the queue and on; one that is killed ends its job, and those behind it.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/cli/ranks.inc"
. "$TOP/tests/cluster/machines.inc"
jobs=$TOP/examples/slurm
PATH=$PATH:/usr/sbin:/sbin
missing=${mpi_missing:-$(machines_missing)}
for p in slurmctld slurmd sbatch munged mungekey; do
    [ -n "$missing" ] || command -v $p >/dev/null || missing="there is no $p"
done
if [ -n "$missing" ]; then
    skip "examples/slurm under Slurm" "$missing"
    exit 0
fi
machines_up

# A cluster of our own: its key, its configuration, its state, all here.
mkdir state
cat >slurm.conf <<END
ClusterName=lafs
SlurmctldHost=m1(10.77.0.1)
AuthType=auth/munge
AuthInfo=socket=$PWD/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$PWD/state
SlurmctldPidFile=$PWD/slurmctld.pid
SlurmdPidFile=$PWD/slurmd.%n.pid
SlurmdSpoolDir=$PWD/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=m1 NodeAddr=10.77.0.1 CPUs=4
NodeName=m2 NodeAddr=10.77.0.2 CPUs=4
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$PWD/slurm.conf"
chmod 700 .
mungekey -c -k "$PWD/munge.key" >/dev/null
munged --foreground --force --key-file="$PWD/munge.key" --socket="$PWD/munge.socket" --pid-file="$PWD/munge.pid" \
    --log-file="$PWD/munge.log" --seed-file="$PWD/munge.seed" >log.munged 2>&1 &
pids_="$pids_ $!"
check within 20 [ -S munge.socket ]
daemon m1 slurmctld -D
for m in m1 m2; do
    # Machines of their own would have /tmp of their own: where PMIx has its things.
    mkdir conf.$m tmp.$m
    cp slurm.conf conf.$m
    echo "PMIxCliTmpDirBase=$PWD/tmp.$m" >conf.$m/mpi.conf
    daemon $m slurmd -D -N $m -f "$PWD/conf.$m/slurm.conf"
done
idle() { on m1 sinfo -h -t idle -o %D 2>/dev/null | grep -q '^2$'; }
if ! within 30 idle || ! on m1 timeout 20 srun --mpi=pmix -N 2 hostname >hosts 2>said; then
    tail -n 3 log.* said >&2
    skip "examples/slurm under Slurm" "Slurm does not start here"
    exit 0
fi
check [ "$(sort hosts | tr '\n' ' ')" = "m1 m2 " ]
ok "a cluster of two machines"

queue_empty() { [ -z "$(on m1 squeue -h)" ]; }
state() { on m1 scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
number() { sed "s/.*$1 \([0-9]*\).*/\1/" submitted; } # of a job

for i in 1 2; do lafs-synth -q --people 3 --people-from $((i * 10)) -n 3 -o photos$i.tar; done
small="-q --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 10 --micro 2 --warmup 0"
export LAFS_BACKEND_PATH="$build_" OUT=run NODES=2 TASKS=2 CPUS=1 SBATCH=--cpus-per-task=1 DETECT="-q --align-only"
export STAGE1="$small --epochs 2" FINETUNE="$small --epochs 1"
export PRETRAIN="$small --epochs 2 --out-dim 32 --hidden 32 --bottleneck 16"
expect_status 0 on m1 "$jobs/submit" photos1.tar photos2.tar >submitted
check within 120 queue_empty
for job in "stage 1" pretraining fine-tuning; do check [ "$(state "$(number "$job")")" = COMPLETED ]; done
check [ "$(lafs-show --count run/train.lafs)" -eq 18 ]
for log in "$(number faces)-1" "$(number faces)-2" "$(number index)" "$(number fine-tuning)"; do
    check [ -e "run/slurm-$log.log" ]
done
# shellcheck disable=SC2086
lafs-finetune --stage 1 $STAGE1 -j 1 -o one/part run/train.lafs
# shellcheck disable=SC2086
lafs-pretrain $PRETRAIN -j 1 --init run/part/model.safetensors --landmarks run/part/model.safetensors -o one/ssl run/train.lafs
# shellcheck disable=SC2086
lafs-finetune $FINETUNE -j 1 --init run/ssl/model.safetensors -o one/ft run/train.lafs
for run in part ssl ft; do equal one/$run run/$run; done
ok "photos to a recogniser, four processes on two machines: the models of one process, to the bit"

# train OPTION...: a training by itself; its number is in ./id
train() {
    on m1 sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --output="$PWD/train.log" "$jobs/train.sbatch" \
        lafs-finetune --stage 1 "$@" run/train.lafs >id
}
restarted() { on m1 scontrol show job "$(cat id)" | grep -q "Restarts=1"; }
# shellcheck disable=SC2086
train $small --epochs 12 -o again
check within 60 [ -s again/log.jsonl ]
on m1 scancel --signal=USR2 "$(cat id)" # what Slurm itself sends when the time is nearly over
check within 60 restarted
check [ -n "$(ls again/checkpoint-*)" ]
check [ ! -e again/model.safetensors ]
check within 120 queue_empty
check [ "$(state "$(cat id)")" = COMPLETED ]
# shellcheck disable=SC2086
lafs-finetune --stage 1 $small --epochs 12 -j 1 -o undisturbed run/train.lafs
same again/model.safetensors undisturbed/model.safetensors
ok "a job whose time is over goes back into the queue, and on to the bit"

# shellcheck disable=SC2086
train $small --epochs 5000 -o killed
check within 60 [ -s killed/log.jsonl ]
after=$(on m1 sbatch --parsable --dependency="afterok:$(cat id)" --kill-on-invalid-dep=yes --output=after.log --wrap "touch after")
kill -9 "$(running m2 lafs-finetune)"
start=$(date +%s)
check within 60 queue_empty
check [ $(($(date +%s) - start)) -lt 60 ]
check [ "$(state "$(cat id)")" = FAILED ]
check [ "$(state "$after")" = CANCELLED ]
has train.log "m2: task 1: Killed"
ok "a process that is killed ends its job within a minute, and what waits for it"
