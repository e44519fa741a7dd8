#!/bin/sh
# Whole programs on the simulated GPU, whose memory the host cannot touch: the CPU's embeddings and landmarks within
# rounding, whatever the batch; and what is said where CUDA cannot be had.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/cli/model.inc"
. "$TOP/tests/gpu/lib.sh"
models_trained
sim=$LAFS_BIN/tests/cuda/sim
export LAFS_BACKEND_PATH="$sim"

models="m grid"
[ -z "${SAN:-}" ] || models=m # minutes, and the same code
for model in $models; do
    for precision in fp32 bf16; do
        how="-q --precision $precision -m $model.safetensors"
        for device in cpu cuda; do
            # shellcheck disable=SC2086
            lafs-embed $how --device $device --batch 4 -o $device.mp faces.lafs
            values $device.mp embedding $((9 * 64)) >$device.txt
        done
        limit=0.00001
        [ $precision = fp32 ] || limit=0.02
        check within $limit $((9 * 64)) cpu.txt cuda.txt
        # Of three whole batches the second is recorded, and replayed like the third; or none is.
        for graphs in yes no; do
            rm -f replays
            # shellcheck disable=SC2086
            LAFS_CUDA_GRAPHS=$graphs LAFS_SIM_REPLAYS=replays lafs-embed $how --device cuda --batch 3 -o other.mp faces.lafs
            values other.mp embedding $((9 * 64)) >other.txt
            same other.txt cuda.txt
            [ $graphs = no ] || check [ "$(cat replays)" = 2 ]
        done
        check [ ! -e replays ]
    done
done
ok "embeddings, in fp32 and bf16"

for device in cpu cuda; do
    lafs-landmark -q --device $device --batch 4 -m m.safetensors -o $device.mp faces.lafs
    values $device.mp landmarks $((9 * 98)) >$device.txt
done
check within 0.00001 $((9 * 98)) cpu.txt cuda.txt
f=faces.lafs
LAFS_SIM_REPLAYS=replays lafs-landmark -q --device cuda --batch 72 -m m.safetensors -o many.mp $f $f $f $f $f $f $f $f
check [ "$(cat replays)" = 1 ]
values many.mp landmarks $((72 * 98)) >many.txt
for i in 1 2 3 4 5 6 7 8; do cat cuda.txt; done >eight.txt
same many.txt eight.txt
ok "landmarks"

# Views come in chunks of 64: the landmark CNN is recorded on the second, and replayed.
views_in_chunks() {
    lafs-synth -q --people 8 -n 8 --aligned -o many.tar
    for device in cpu cuda; do
        LAFS_SIM_REPLAYS=replays lafs-pretrain -q -j 2 --device $device --dim 64 --heads 1 --mlp 64 --depth 1 --patches 49 \
            --patch 16 --batch 64 --epochs 1 --warmup 0 --locals 0 --out-dim 64 --hidden 64 --bottleneck 32 \
            --landmarks m.safetensors -o run-$device many.lafs
        losses run-$device >$device.txt
    done
    check within 0.001 1 cpu.txt cuda.txt
    check [ "$(cat replays)" = 1 ]
    ok "views' landmarks in training"
}
[ -n "${SAN:-}" ] || views_in_chunks # with sanitizers a minute, and graphs.sh trains, too

expect_status 0 lafs-landmark --device auto --batch 4 -m m.safetensors -o auto.mp faces.lafs
message "device cuda: simulated GPU"
expect_status 1 lafs-embed -q --device cuda:7 -m m.safetensors -o none.mp faces.lafs
message "cannot use device 'cuda:7': there is one simulated device"
check [ ! -e none.mp ]
ok "the device is chosen and told"

# A benchmark's row: all of its calls are what the device takes.
expect_status 0 env SEQS=1 REPEAT=1 BENCH_ONLY="add_norm" "$LAFS_BIN/tests/gpu/bench" >rows
check [ "$(grep -c '^add_norm.* ms .* TB/s$' rows)" = 2 ]
expect_status 0 env DEVICE=cuda BENCH_SIDE=64 BENCH_ONLY="no such row" "$LAFS_BIN/tests/bench/stages" >rows
check grep -q '^stages: simulated GPU.*; products of 64 at .* TF/s, copies at .* TB/s$' rows
expect_status 0 env DEVICE=cuda BENCH_SIDE=64 BENCH_PROBES=3 BENCH_ENTRIES=200 BENCH_SECONDS=0.01 "$LAFS_BIN/tests/bench/search" >rows
check [ "$(grep -c '^.* GF/s ' rows)" = 3 ]
check grep -q '^cosines computed in full: [0-9.]* %$' rows
ok "the benchmarks start"

# The plugin itself, where it was built: it loads, and says what is not there.
if [ -e "$LAFS_BIN/lafs-cuda.so" ] && ! ldconfig -p | grep -q 'libcuda\.so\.1 ' &&
    [ ! -e /dev/nvidia0 ] && ! command -v nvidia-smi >/dev/null; then
    export LAFS_BACKEND_PATH="$LAFS_BIN"
    expect_status 1 lafs-embed -q --device cuda -m m.safetensors -o none.mp faces.lafs
    message "cannot use device 'cuda': there is no NVIDIA driver here: libcuda.so.1"
    check [ ! -e none.mp ]
    expect_status 0 lafs-landmark --device auto --batch 4 -m m.safetensors -o auto.mp faces.lafs
    message "device cpu: there is no NVIDIA driver here"
    expect_status 3 "$TOP/tests/gpu/check" "$LAFS_BIN"
    message "no GPU here: not available: cannot use device 'cuda': there is no NVIDIA driver"
    expect_status 3 "$LAFS_BIN/tests/gpu/bench"
    message "no GPU here: cannot use device 'cuda': there is no NVIDIA driver"
    ok "the plugin without a driver"
else
    skip "the plugin without a driver" "no plugin was built, or there is a driver"
fi
