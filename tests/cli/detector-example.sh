#!/bin/sh
# examples/detector.mk from beginning to end on rendered people: two steps of each training, then every figure. What the
# figures are is for real photos; here each has to come, for every detector. The shipped detector stands in for the
# published one, which is not here.
set -eu
. "$(dirname "$0")/lib.sh"
if [ -n "${SAN:-}" ]; then
    skip "examples/detector.mk" "with sanitizers it takes minutes, and each of its programs has tests of its own"
    exit 0
fi
if [ ! -e "$TOP/share/models/detector.safetensors" ]; then
    skip "examples/detector.mk" "there is no detector to label photos"
    exit 0
fi
mkdir data
here=$PWD
ln -s "$LAFS_BIN" bin # make ends names at blanks
lafs-synth -q --people 24 -n 2 --size 112 --seed 4 --pairs data/pairs-settings.txt -o lfw.tar
lafs-shard -q --to-dir lfw lfw.lafs
tar -cf data/lfw-devtrain.tar -C lfw .
lafs-synth -q --people 24 -n 1 --size 112 --seed 5 -o frames.tar
lafs-shard -q --to-dir frames frames.lafs
tar -cf data/youtube-keypoints-train.tar -C frames .
lafs-show --npy points68 -o points.npy --keys keys.txt frames.lafs
{
    echo "name,points"
    tail -c "$((24 * 544))" points.npy | od -An -v -w544 -tf4 | awk '{ $1 = $1; gsub(/ /, ","); print }' |
        paste -d, keys.txt - | sed 's/,/.jpg,/'
} >data/youtube-keypoints-train.csv
lafs-synth -q --people 1 -n 1 --faces 3 --size 200 --seed 6 -o group.tar
lafs-shard -q --to-dir group group.lafs
mv group/*/*.jpg group/party.jpg
tar -cf data/group-photos.tar -C group party.jpg
lafs-show --json group.lafs | sed 's/.*"faces"//; s/"box": \(\[[^]]*\]\)/\
BOX \1\
/g' | sed -n 's/^BOX //p' | paste -sd, - | sed 's/.*/{"file": "party.jpg", "boxes": [&]}/; s/,\[/, [/g' >data/group-photos.jsonl

run() {
    (cd "$TOP" && env -u MAKEFLAGS -u MAKELEVEL N=3 make -s -f examples/detector.mk BIN="$here/bin" OUT="$here/out" DATA="$here/data" \
        WEIGHTS=share/models/detector.safetensors REFINER_STEPS=3 DETECTOR_STEPS=2 WARMUP=0 BATCH=4 CANVASES=3 \
        SYNTH=4 "$@")
}
if run train >log 2>&1; then :; else fail_ "training: $(tail -n 5 log)"; fi
check [ -s out/refiner/model.safetensors ]
check [ -s out/detector/model.safetensors ]
ok "examples/detector.mk trains"

if run all >figures 2>log; then :; else fail_ "figures: $(tail -n 5 log)"; fi
for line in "yunet  as it is" "twice  less mean offset" "ours   as it is" "ours   groups:" "yunet  composed320:" "ours   composed-dark:" \
    "ours   composed-mask:" "photos read" "yunet  auto" "ours   1x" "points, quality from" "accuracy" "as they are" \
    "turned by 180 degrees" "faces of 12 pixels" "rendered, 4096 pixels"; do has figures "$line"; done
hasnt figures "nan"
ok "examples/detector.mk measures"
