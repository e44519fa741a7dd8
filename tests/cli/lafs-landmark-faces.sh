#!/bin/sh
# lafs-landmark: faces and views, the same bits whatever -j, --batch and neighbours, what it keeps, what it refuses.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
. "$TOP/tests/cli/detector.inc"
models_trained

expect_status 0 lafs-landmark -m m.safetensors -o l.mp faces.lafs
message "9 faces read, 9 written"
lafs-show l.mp >shown
has shown 'landmarks  f4 (49, 2)'
has shown 'JPEG 112x112'
has shown 'people      3'
lafs-show --json --full l.mp >l.json
# In pixels of the crop: 0 to 111, both reached (min-max over all values).
sed 's/.*"landmarks": //' l.json | tr -s '[], ' '\n' | awk '/^[0-9.e-]+$/ {
    if ($1 > hi) hi = $1; if ($1 < 0) bad = 1; n++ } END { exit bad || n != 9 * 98 || hi != 111 }' || fail_ "landmarks are not in 0..111"
lafs-convert --select output_layer. --select stn. -o part.safetensors m.safetensors
expect_status 0 lafs-landmark -q -m part.safetensors -o p.mp faces.lafs
lafs-show --json --full p.mp >p.json
same l.json p.json
ok "landmarks on faces; the CNN alone will do"

expect_status 0 lafs-augment -q --render --epochs 0-0 -o views.mp faces.lafs
expect_status 0 lafs-landmark -q -m m.safetensors -o lv.mp views.mp
lafs-show --json lv.mp >lv.json
has lv.json '"landmarks": {"array": "f4", "shape": [49, 2]'
has lv.json '"augmented"'
hasnt lv.json '"clean":'
expect_status 0 lafs-landmark -q --keep -m m.safetensors -o kept.mp views.mp
lafs-show --json kept.mp >kept.json
has kept.json '"clean":'
sed 's/"clean": {[^}]*}, //g' kept.json >without.json
same lv.json without.json
ok "views: landmarks of the clean crop, which --keep keeps"

for batch in 1 4 256; do
    for jobs in 1 4; do
        expect_status 0 lafs-landmark -q -m m.safetensors --batch $batch -j $jobs -o other.mp faces.lafs
        same l.mp other.mp
        expect_status 0 lafs-landmark -q -m m.safetensors --batch $batch -j $jobs -o other.mp views.mp
        same lv.mp other.mp
    done
done
# Faces and views in one batch: each as if alone.
lafs-shard -q -o faces.mp faces.lafs
lafs-augment -q --render -n 4 -o some.mp faces.mp
expect_status 0 lafs-landmark -q -m m.safetensors -n 4 -o some-l.mp some.mp
head -n 4 l.json >want.json
lafs-show --json --full some-l.mp >>want.json
lafs-shard -q -n 4 -o four-faces.mp faces.mp
cat four-faces.mp some.mp | lafs-landmark -q -m m.safetensors -o mixed.mp || fail_ "a mixed stream"
lafs-show --json --full mixed.mp >mixed.json
same want.json mixed.json
ok "the same bits whatever -j, --batch and neighbours"

mkdir in out
lafs-shard -q --to-dir crops faces.lafs
n=0
for f in crops/*/*.jpg; do
    n=$((n + 1))
    cp "$f" in/k$n.jpg
    printf 'note %d\n\001\377' $n >in/k$n.note
done
tar -cf foreign.tar -C in --sort=name .
expect_status 0 lafs-landmark -q -m m.safetensors -o out.tar foreign.tar
tar -xf out.tar -C out
for f in in/*; do same "$f" "out/$(basename "$f")"; done
ok "fields of others pass through, and the picture to the byte"

expect_status 2 lafs-landmark -m grid.safetensors -o never.mp faces.lafs
message "'grid.safetensors': the model has no landmark CNN"
expect_status 2 lafs-landmark -m vit.safetensors -o never.mp faces.lafs
message "'vit.safetensors': the model has no landmark CNN"
toy_detector detector.safetensors never
expect_status 1 lafs-landmark -m detector.safetensors -o never.mp faces.lafs
message "'detector.safetensors': it holds neither a ViT nor a landmark CNN"
expect_status 1 lafs-landmark -m missing -o never.mp faces.lafs
message "cannot open 'missing': no such file or directory"
lafs-convert --set pixels.channels=bgr -o other.safetensors m.safetensors
expect_status 2 lafs-landmark -m other.safetensors -o never.mp faces.lafs
message "the faces' channels are rgb, the model wants bgr"
check [ ! -e never.mp ]
ok "models that do not serve"

head -c 700 in/k2.jpg >cut.jpg && mv cut.jpg in/k2.jpg
tar -cf bad.tar -C in --sort=name .
expect_status 1 lafs-landmark -m m.safetensors --rejects why -o never.mp bad.tar
message "9 faces read, 8 written, 1 bad"
has why '"key": "k2"'
expect_status 0 lafs-landmark -q -m m.safetensors --max-bad 0.2 -o good.mp bad.tar
lafs-show --count good.mp >count
check [ "$(cat count)" = 8 ]
lafs-augment -q -n 2 -o plans.mp faces.lafs
expect_status 1 lafs-landmark -m m.safetensors -o never.mp plans.mp
message "view 0 has no clean crop of 112 pixels (lafs-augment --render makes them)"
lafs-augment -q --render --method dino -n 2 -o dino.mp faces.lafs
expect_status 1 lafs-landmark -m m.safetensors -o never.mp dino.mp
message "has no clean crop"
head -c 100000 views.mp >cut.mp
expect_status 3 lafs-landmark -q -m m.safetensors -o never.mp cut.mp
check [ ! -e never.mp ]
ok "bad records and cut input"

expect_status 2 lafs-landmark faces.lafs
message "whose landmarks? give -m MODEL"
expect_status 2 lafs-landmark -m m.safetensors --batch 257 faces.lafs
message "257 is not within 1 to 256"
expect_status 2 lafs-landmark -m m.safetensors --batch x faces.lafs
ok "misuse"
