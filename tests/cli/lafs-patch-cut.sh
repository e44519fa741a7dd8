#!/bin/sh
# lafs-patch: faces, views, grids and mosaics; what is drawn depends on seed, epoch, key and view alone; what it refuses.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained
lafs-landmark -q -m m.safetensors -o l.mp faces.lafs
lafs-augment -q --render --epochs 0-0 -o views.mp faces.lafs
lafs-landmark -q -m m.safetensors -o lv.mp views.mp

expect_status 0 lafs-patch -o p.mp l.mp
message "9 records read, 9 written"
lafs-show p.mp >shown
has shown 'patches    f4 (49, 8, 8, 3)'
has shown 'landmarks  f4 (49, 2)'
has shown 'JPEG 112x112'
expect_status 0 lafs-patch -q --patch 16 -o p16.mp l.mp
lafs-show p16.mp >shown
has shown 'patches    f4 (49, 16, 16, 3)'
has shown 'patch 16'
expect_status 0 lafs-patch -q --grid -o grid.mp faces.lafs
lafs-show grid.mp >shown
has shown 'patches   f4 (196, 8, 8, 3)'
ok "patches of faces: at landmarks, of another size, on a grid"

# The grid's patches side by side are the picture, for the embedding of pixels but for one more JPEG.
expect_status 0 lafs-patch -q --grid --mosaic -o mosaic.mp faces.lafs
lafs-show mosaic.mp >shown
has shown 'JPEG 112x112'
hasnt shown patches
hasnt shown 'aligned (arcface5)'
expect_status 0 lafs-patch -q --mosaic -o lm.mp l.mp
lafs-show lm.mp >shown
has shown 'JPEG 56x56'
lafs-embed -q --baseline pixel -o a.mp faces.lafs
lafs-embed -q --baseline pixel -o b.mp mosaic.mp
for f in a b; do
    lafs-show --json --full -n 1 $f.mp | sed 's/.*"embedding": \[//; s/\].*//' | tr -d ' ' | tr ',' '\n' >$f.txt
done
paste a.txt b.txt | awk '{ ab += $1 * $2; aa += $1 * $1; bb += $2 * $2; n++ } END { exit !(n == 37632 && ab / sqrt(aa * bb) > 0.999) }' ||
    fail_ "the mosaic of a grid is not the picture"
ok "mosaics"

expect_status 0 lafs-patch -q -o pv.mp lv.mp
lafs-show --json -n 1 pv.mp >pv.json
check [ "$(grep -o '"shape": \[49, 8, 8, 3\]' pv.json | wc -l)" = 2 ]
check [ "$(grep -o '"shape": \[36, 8, 8, 3\]' pv.json | wc -l)" = 8 ]
hasnt pv.json '"augmented"'
expect_status 0 lafs-patch -q --keep --subset 10 --ordered -o pk.mp lv.mp
lafs-show --json -n 1 pk.mp >pk.json
has pk.json '"augmented"'
check [ "$(grep -o '"shape": \[10, 8, 8, 3\]' pk.json | wc -l)" = 8 ]
grep -o '"index": \[[^]]*\]' pk.json | sed 's/.*\[//; s/\]//' | tr -d ' ' >index.txt
check [ "$(wc -l <index.txt)" = 10 ]
awk -F, '{ for (i = 2; i <= NF; i++) if ($i < $(i - 1)) bad = 1 } END { exit bad }' index.txt || fail_ "--ordered is not"
grep -o '"index": \[[^]]*\]' pv.json | sed 's/.*\[//; s/\]//' | tr -d ' ' >index.txt
awk -F, 'NF == 36 { for (i = 2; i <= NF; i++) if ($i < $(i - 1)) bad++ } END { exit !bad }' index.txt || fail_ "the usual is ordered"
lafs-augment -q --render --method dino -n 2 -o dv.mp faces.lafs
expect_status 0 lafs-patch -q --method dino -o dino.mp dv.mp
lafs-show --json -n 1 dino.mp >dino.json
check [ "$(grep -o '"shape": \[196, 8, 8, 3\]' dino.json | wc -l)" = 2 ]
check [ "$(grep -o '"shape": \[36, 8, 8, 3\]' dino.json | wc -l)" = 8 ]
hasnt dino.json '"index"'
ok "patches of views: subset, order, grid of DINO"

# Of a face DINO's grid is as large as the picture, whatever --patches says, and needs no landmarks.
lafs-show --json --full grid.mp >want.json
for more in "" "--grid --patches 4"; do
    expect_status 0 lafs-patch -q --method dino $more -o dino.mp faces.lafs
    lafs-show --json --full dino.mp >dino.json
    same want.json dino.json
done
expect_status 0 lafs-patch -q --method dino --mosaic -o dm.mp faces.lafs
lafs-show --json --full mosaic.mp >want.json
lafs-show --json --full dm.mp >dino.json
same want.json dino.json
lafs-synth -q --people 2 --photos 1 --size 224 -o large.mp
expect_status 0 lafs-patch -q --method dino -o dl.mp large.mp
lafs-show dl.mp >shown
has shown 'f4 (784, 8, 8, 3)'
ok "DINO's grid of faces"

for jobs in 1 4; do
    expect_status 0 lafs-patch -q -j $jobs -o other.mp lv.mp
    same pv.mp other.mp
    expect_status 0 lafs-patch -q -j $jobs -o other.mp l.mp
    same p.mp other.mp
done
lafs-show --json --full -n 2 pv.mp >two.json
lafs-augment -q --render --epochs 0-0 -n 2 -o v2.mp faces.lafs
lafs-landmark -q -m m.safetensors -o lv2.mp v2.mp
expect_status 0 lafs-patch -q -o pv2.mp lv2.mp
lafs-show --json --full pv2.mp >alone.json
same two.json alone.json
expect_status 0 lafs-patch -q --sigma 0 -o still.mp lv.mp
lafs-show --json --full -n 2 still.mp >still.json
if cmp -s two.json still.json; then fail_ "--sigma changes nothing"; fi
ok "the same bits whatever -j and neighbours"

mkdir in out
lafs-shard -q --to-dir crops faces.lafs
n=0
for f in crops/*/*.jpg; do
    n=$((n + 1))
    cp "$f" in/k$n.jpg
    printf 'note %d\n\001\377' $n >in/k$n.note
done
tar -cf foreign.tar -C in --sort=name .
expect_status 0 lafs-patch -q --grid -o out.tar foreign.tar
tar -xf out.tar -C out
for f in in/*; do same "$f" "out/$(basename "$f")"; done
ok "fields of others pass through, and the picture to the byte"

expect_status 1 lafs-patch -o never.mp faces.lafs
message "no landmarks (lafs-landmark adds them)"
expect_status 1 lafs-patch -o never.mp views.mp
message "no landmarks (lafs-landmark adds them)"
lafs-augment -q -n 2 -o plans.mp faces.lafs
expect_status 1 lafs-patch --grid -o never.mp plans.mp
message "view 0 has no augmented crop (lafs-augment --render makes them)"
head -c 700 in/k2.jpg >cut.jpg && mv cut.jpg in/k2.jpg
tar -cf bad.tar -C in --sort=name .
expect_status 1 lafs-patch --grid --rejects why -o never.mp bad.tar
message "9 records read, 8 written, 1 bad"
has why '"key": "k2"'
expect_status 0 lafs-patch -q --grid --max-bad 0.2 -o good.mp bad.tar
lafs-show --count good.mp >count
check [ "$(cat count)" = 8 ]
head -c 100000 lv.mp >cut.mp
expect_status 3 lafs-patch -q -o never.mp cut.mp
check [ ! -e never.mp ]
ok "bad records and cut input"

expect_status 2 lafs-patch --patches 49 l.mp
message "--patches is of a --grid"
expect_status 2 lafs-patch --grid --patches 50 faces.lafs
message "--patches 50 is no square number"
expect_status 2 lafs-patch --sigma -1 l.mp
expect_status 2 lafs-patch --patch 1 l.mp
expect_status 2 lafs-patch --method mae l.mp
ok "misuse"
