#!/bin/sh
# lafs-detect with a detector whose answers are known: keys, counts, fields, options, threads.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/detector.inc"
toy_detector always.safetensors always
toy_detector never.safetensors never
lafs-synth -q --people 3 -n 2 --size 96 --seed 3 -o photos.tar # 9 cells each
mkdir dir
tar -xf photos.tar -C dir --wildcards '*.jpg'
all='-m always.safetensors --one-scale'

expect_status 0 lafs-detect $all -o one.mp dir
message "6 photos read, 54 written"
expect_status 0 lafs-detect $all -o again.mp -j 4 dir
expect_status 0 lafs-detect $all -j 1 dir >piped.mp
same one.mp again.mp
same one.mp piped.mp
ok "every cell is a face, the same bytes on 1 and 4 threads"

expect_status 0 lafs-detect $all -q -o f-%06d.tar dir
check test -s f.lafs
tar -tf f-000000.tar >members
check test "$(grep -c '_0001-f[0-8]\.jpg$' members)" -eq "$((9 * $(find dir -name '*_0001.jpg' | wc -l)))"
hasnt members "-f9"
has f.lafs "arcface5"
ok "shards with their index; keys end in -f0 .. -f8"

expect_status 0 lafs-detect $all --best -o b-%06d.tar dir
message "6 photos read, 6 written"
tar -tf b-000000.tar | sed -n 's/\.jpg$//p' >keys
(cd dir && find . -name '*.jpg' | sed 's,^\./,,; s,\.jpg$,,' | sort) >want
same keys want
# Of nine equal boxes the middle one is the most central: from (32, 32) on.
tar -xOf b-000000.tar --wildcards '*.mp' >fields
has fields "$(printf 'size\222\140\140')"
ok "--best keeps the photo's key and takes the middle face"

expect_status 0 lafs-detect -m never.safetensors -o none.mp --log log.json dir
message "6 photos read, 0 written, 6 without a face"
has log.json '"no_face": 6'
expect_status 0 lafs-shard -q -o none-%06d.tar none.mp
lafs-show none.mp >shown
has shown ', 6 photos without a face'
ok "photos without a face are counted apart, and no failure"

expect_status 0 lafs-detect $all --min-size 33 -o none.mp dir
message "0 written"
expect_status 0 lafs-detect $all --min-size 32 -n 1 -o some.mp dir
message "1 photo read, 9 written"
expect_status 0 lafs-detect -m always.safetensors --scales 2 -n 1 -o some.mp dir
message "36 written"
expect_status 0 lafs-detect -m always.safetensors --scales 0.5,0.25 -n 1 -o some.mp dir
message "5 written"
ok "--min-size, --scales, -n" # 4 cells of 64 pixels and one of 128

expect_status 0 lafs-detect $all -q --best --raw -n 1 -o raw.mp dir
has raw.mp rgb
check test "$(wc -c <raw.mp)" -gt 37632
expect_status 0 lafs-detect $all -q --best --size 224 -n 1 -o big.tar dir
has big.lafs 224
expect_status 0 lafs-detect $all -q --best --no-crop -n 1 -o whole.tar dir
tar -xOf whole.tar --wildcards '*.jpg' >whole.jpg
check cmp whole.jpg dir/"$(head -n 1 want)".jpg
hasnt whole.lafs arcface5
expect_status 0 lafs-detect $all -q --no-crop -n 1 -o nine.tar dir
tar -tf nine.tar | grep 'jpg$' >nine
check test "$(wc -l <nine)" -eq 9
while read -r jpg; do tar -xOf nine.tar "$jpg" | cmp - whole.jpg || fail_ "not the photo: $jpg"; done <nine
expect_status 2 lafs-detect $all --no-crop --size 224 -o no.mp dir
message "--no-crop keeps the photo as it is"
ok "--raw, --size, --no-crop"

# The orientation "rotate by 90 degrees" put into a photo: what was 96 x 64 is displayed as 64 x 96.
lafs-synth -q --people 1 -n 1 --size 96x64 -o wide.tar
tar -xOf wide.tar --wildcards '*.jpg' >plain.jpg
{
    head -c 2 plain.jpg
    printf '\377\341\000\042Exif\000\000MM\000\052\000\000\000\010\000\001\001\022\000\003\000\000\000\001\000\006\000\000\000\000\000\000'
    tail -c +3 plain.jpg
} >turned.jpg
expect_status 0 lafs-detect $all -q --best -o plain.mp plain.jpg
expect_status 0 lafs-detect $all -q --best -o turned.mp turned.jpg
has plain.mp "$(printf 'size\222\140\100')"
has turned.mp "$(printf 'size\222\100\140')"
ok "the EXIF orientation counts"

# Quality: a number and its parts with every face; the poor are dropped, and a photo of such only is neither bad nor empty.
lafs-synth -q --people 5 -n 2 --size 200 --seed 8 -o fine.tar
expect_status 0 lafs-detect --align-only --size 224 -o fine.mp fine.lafs
message "10 photos read, 10 written"
qualities() { lafs-show --json "$1" | sed 's/.*"quality": \([0-9.e-]*\), "quality_parts": \[\([^]]*\)\].*/\1 \2/; s/,//g'; }
qualities fine.mp >fine.txt
awk '{ p = $2 * $3 * $4 * $5; if (NF != 5 || $1 < 0 || $1 > 1 || $1 - p > 1e-4 || p - $1 > 1e-4) exit 1 } END { exit NR != 10 }' fine.txt ||
    fail_ "quality is not the product of its parts: $(cat fine.txt)"
lafs-detect -q --align-only -o small.mp fine.lafs
qualities small.mp >small.txt
same fine.txt small.txt
lafs-detect -q $all --best --no-crop -n 1 -o whole.mp dir
lafs-detect -q $all --best -n 1 -o cropped.mp dir
qualities whole.mp >whole.txt
qualities cropped.mp >cropped.txt
same whole.txt cropped.txt
limit=$(sort -g fine.txt | sed -n '4s/ .*//p')
expect_status 0 lafs-detect --align-only --min-quality "$limit" -o good.mp fine.lafs
message "10 photos read, $(awk -v q="$limit" '$1 >= q' fine.txt | wc -l) written"
message "dropped"
expect_status 0 lafs-detect $all --min-quality 1 -o none.mp dir
message "6 photos read, 0 written, 6 dropped"
expect_status 2 lafs-detect --min-quality 1.1 dir
ok "quality, the same for every kind of output; --min-quality"

# Points that a photo came with are those of the face whose box they lie in; those of an earlier look are not kept.
lafs-synth -q --people 1 -n 1 --size 96 --seed 3 -o known.tar
expect_status 0 lafs-detect -q $all --no-refine --no-crop -o faces.mp known.lafs
lafs-show --json faces.mp >faces.json
check [ "$(wc -l <faces.json)" = 9 ]
check [ "$(grep -c '"points68"' faces.json)" -le 1 ]
lafs-synth -q --people 2 -n 2 --size 120 -o learn.tar
lafs-detect-train -q --batch 4 --steps 2 --warmup 1 -o ref learn.lafs
lafs-shard -q -o plain.mp dir
expect_status 0 lafs-detect -q -m always.safetensors --one-scale --refiner ref/model.safetensors --best --no-crop -o first.mp plain.mp
lafs-show --json first.mp >first.json
has first.json '"refined"'
expect_status 0 lafs-detect -q $all --no-refine --best --no-crop -o second.mp first.mp
lafs-show --json second.mp >second.json
hasnt second.json '"refined"'
hasnt second.json '"points68"'
ok "what a record says of another face does not stay"
