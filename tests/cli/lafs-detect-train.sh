#!/bin/sh
# lafs-detect-train: both networks, threads, interruption, what it writes and what it refuses.
set -eu
. "$(dirname "$0")/lib.sh"
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; }

lafs-synth -q --people 4 -n 2 --size 120 --seed 5 -o photos.tar
lafs-synth -q --people 3 -n 1 --faces 2-3 --size 160 --seed 6 -o groups.tar
lafs-select -q -o all.lafs photos.lafs groups.lafs
tiny="-q --batch 4 --steps 4 --warmup 1 --checkpoint-every 2"

for what in refiner detector; do
    # shellcheck disable=SC2086
    expect_status 0 lafs-detect-train $tiny -j 1 --what $what -o one-$what all.lafs
    # shellcheck disable=SC2086
    expect_status 0 lafs-detect-train $tiny -j 3 --what $what -o three-$what all.lafs
    losses one-$what >one.losses
    losses three-$what >three.losses
    check [ "$(wc -l <one.losses)" -eq 4 ]
    same one.losses three.losses
    same one-$what/model.safetensors three-$what/model.safetensors
    ok "$what: 1 and 3 threads give the same bits"

    # as if killed after step 2: later checkpoints are gone, the log goes further
    cp -r one-$what part-$what
    rm part-$what/checkpoint-4.safetensors part-$what/model.safetensors
    # shellcheck disable=SC2086
    expect_status 0 lafs-detect-train $tiny -j 2 --what $what -o part-$what all.lafs
    losses part-$what >part.losses
    same one.losses part.losses
    same one-$what/model.safetensors part-$what/model.safetensors
    ok "$what: a run that was stopped goes on to the bit"
done

# Another run's weights, without mirroring: not those of a start from nothing.
# shellcheck disable=SC2086
expect_status 0 lafs-detect-train $tiny --no-mirror --init one-refiner -o from all.lafs
# shellcheck disable=SC2086
expect_status 0 lafs-detect-train $tiny --no-mirror -o scratch all.lafs
losses from | head -n 1 >from.losses
losses scratch | head -n 1 >scratch.losses
check [ "$(cat from.losses)" != "$(cat scratch.losses)" ]
# shellcheck disable=SC2086
expect_status 1 lafs-detect-train $tiny --what detector --init one-refiner -o other all.lafs
message "'one-refiner', taken for a run of a detector: tensor"
mv one-refiner gone
# shellcheck disable=SC2086
expect_status 0 lafs-detect-train $tiny --no-mirror --init one-refiner -o from all.lafs
# shellcheck disable=SC2086
expect_status 1 lafs-detect-train $tiny --no-mirror --init one-refiner -o nothing all.lafs
message "'one-refiner' holds no checkpoint"
check [ ! -e nothing ]
mv gone one-refiner
ok "a run starts from another one's weights, and goes on without it"

lafs-show one-refiner/model.safetensors >shown
has shown "lafs-refiner-1"
lafs-show one-detector/model.safetensors >shown
has shown "yunet-n"
expect_status 0 lafs-detect -q -m one-detector/model.safetensors --refiner one-refiner/model.safetensors --min-score 0 \
    --best --no-crop -o found.mp photos.lafs
lafs-show --json found.mp >found.json
has found.json '"refined"'
has found.json '"points68"'
expect_status 0 lafs-detect -q -m one-detector/model.safetensors --no-refine --min-score 0 --best --no-crop -o plain.mp photos.lafs
lafs-show --json plain.mp >plain.json
hasnt plain.json '"refined"'
ok "lafs-detect finds with what was trained"

expect_status 2 lafs-detect-train -q --what refiner --lr 0.01 --batch 4 --steps 4 --warmup 1 -o one-refiner all.lafs
message "lr was"
hasnt stderr --extend
expect_status 2 lafs-detect-train -q --what refiner --batch 4 --steps 5 --warmup 1 -o one-refiner all.lafs
message "steps was '4', is '5' (take them back, or give another -o; --extend lets the run grow)"
expect_status 2 lafs-detect-train -q --what refiner --batch 4 --steps 3 --warmup 1 --extend -o one-refiner all.lafs
message "steps was '4', is '3' (take them back, or give another -o)"
expect_status 0 lafs-detect-train -q --what refiner --batch 4 --steps 5 --warmup 1 --extend --checkpoint-every 2 -o one-refiner all.lafs
check [ "$(wc -l <one-refiner/log.jsonl)" -eq 5 ]
expect_status 2 lafs-detect-train -q --steps 4 --warmup 4 -o none all.lafs
message "a --warmup of 4 steps does not fit into 4"
expect_status 2 lafs-detect-train -q all.lafs
message "where does the run go"
check [ ! -e none ]
ok "changed options are refused by name, more steps are not"

expect_status 0 lafs-detect-train -q --canvases 5 -o five.tar all.lafs
expect_status 0 lafs-detect-train -q --canvases 3 -o three.mp all.lafs
check [ "$(lafs-show --count five.lafs)" = 5 ]
lafs-show --json five.lafs | head -n 3 | sed 's/"jpg": {[^}]*}, //' >five.json
lafs-show --json three.mp | sed 's/"jpg": {[^}]*}, //' >three.json
same five.json three.json
has five.json '"score"'
# What was composed can be learnt from, and composed again, larger.
expect_status 0 lafs-detect-train -q --what detector --batch 2 --steps 2 --warmup 1 -o again five.lafs
expect_status 0 lafs-detect-train -q --canvases 2 --canvas-side 400 -o large.tar five.lafs
tar -xOf large.tar canvas-000001.jpg >large.jpg
lafs-shard -q -o large.mp large.jpg
lafs-show --json large.mp >large.json
for with in dark mask; do
    expect_status 0 lafs-detect-train -q --canvases 5 --canvas-with $with -o $with.mp all.lafs
    lafs-show --json $with.mp | sed 's/"jpg": {[^}]*}, //' | head -n 3 >$with.json
    same five.json $with.json
    check [ "$(cksum <$with.mp)" != "$(lafs-shard five.lafs 2>stderr | cksum)" ]
done
has large.json '[400, 400]'
expect_status 2 lafs-detect-train -q --canvases 2 --canvas-side 100 -o bad all.lafs
for canvas in "--canvas-side 320" "--canvas-with dark"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-detect-train -q $canvas -o bad all.lafs
    message "--canvas-side and --canvas-with need --canvases"
done
expect_status 2 lafs-detect-train -q --canvases 2 -o all.tar all.lafs
message "would be replaced"
lafs-shard -q -n 0 -o empty.tar all.lafs
expect_status 1 lafs-detect-train -q --canvases 2 -o bad empty.lafs
message "'empty.lafs' holds no records"
expect_status 1 lafs-detect-train -q --steps 2 --warmup 1 -o bad empty.lafs
message "'empty.lafs' holds no records"
check [ ! -e bad ]
lafs-show again/model.safetensors >shown
has shown "smallest_face: 7"
lafs-convert -q --set smallest_face=no -o odd.safetensors again/model.safetensors
expect_status 1 lafs-detect -q -m odd.safetensors all.lafs
message "smallest_face"
lafs-detect-train -q --canvases 10000000 -o many.tar all.lafs &
while [ -z "$(find . -name '*many.tar*')" ] && kill -0 $!; do sleep 0.05; done
kill $!
status=0
wait $! || status=$?
check [ $status -eq 143 ]
check [ -z "$(find . -name '*many.tar*')" ]
ok "canvases as records"

tar -xf photos.tar --wildcards '*.jpg'
lafs-shard -q -o bare.tar s5-000000
expect_status 1 lafs-detect-train -q --batch 4 --steps 2 --warmup 1 -o bad bare.lafs
message "neither field 'points68' nor 'points'"
expect_status 1 lafs-detect-train -q --what detector --batch 4 --steps 2 --warmup 1 -o bad2 bare.lafs
message "no field 'box'"
expect_status 1 lafs-detect -q -m one-detector/model.safetensors --refiner one-detector/model.safetensors photos.lafs
message "not a refiner of points"
ok "photos without points, and a model of another kind, are refused by name"
