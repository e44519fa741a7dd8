#!/bin/sh
# lafs-detect: no model, a wrong one, photos that are none, JPEG bombs, cut input, a full disk, misuse.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/detector.inc"
toy_detector m.safetensors always
lafs-synth -q --people 2 -n 1 --size 64 -o photos.tar
mkdir dir
tar -xf photos.tar -C dir --wildcards '*.jpg'
good=$(find dir -name '*.jpg' | sort | head -n 1)

# A program that lies alone, with no models beside it.
mkdir alone
cp "$(command -v lafs-detect)" alone/
expect_status 1 env -u LAFS_MODEL_PATH alone/lafs-detect dir >out
message "no detector model"
message "lafs-convert"
ok "without a model: how to get one"
mkdir models
cp m.safetensors models/detector.safetensors
expect_status 0 env LAFS_MODEL_PATH="/nowhere:$PWD/models" lafs-detect -q dir >out
expect_status 0 lafs-detect -q -m m.safetensors dir >named
same out named
ok "finds the model in LAFS_MODEL_PATH"

expect_status 1 lafs-detect -m missing dir >out
message "cannot open 'missing': no such file or directory"
expect_status 1 lafs-detect -m "$good" dir >out
message "$good"
expect_status 1 lafs-detect -m "$TOP/tests/golden/data/vit.safetensors" dir >out
message "there is no tensor 'conv0.weight'"
lafs-convert --set architecture=part_fvit -o other.safetensors m.safetensors
expect_status 1 lafs-detect -m other.safetensors dir >out
message "is a 'part_fvit', not a face detector"
ok "models that are none"

# A photo cut off, one that is text, one that claims 65500 x 65500 pixels.
mkdir bad
head -c 600 "$good" >bad/cut.jpg
echo hello >bad/text.jpg
printf '\377\330\377\300\000\021\010\377\334\377\334\003\001\042\000\002\021\001\003\021\001\377\332\000\014\003\001\000\002\021\003\021\000\077\000' >bad/bomb.jpg
cp "$good" bad/fine.jpg
expect_status 1 lafs-detect -m m.safetensors --one-scale --rejects why -o out.mp bad
check test "$(wc -l <why)" = 3
has why bomb
has why pixels
check test ! -e out.mp
expect_status 0 lafs-detect -m m.safetensors --one-scale --max-bad 1 -o out.mp bad
message "4 photos read, 4 written, 3 bad"
expect_status 1 lafs-detect -m m.safetensors --max-pixels 4000 "$good" >out
message "64 x 64 is more than 4000 pixels"
ok "photos that are none are skipped, counted, named"

lafs-shard -q -o whole.mp photos.tar
head -c 3000 whole.mp >cut.mp
expect_status 3 lafs-detect -q -m m.safetensors -o never.tar cut.mp
check test ! -e never.lafs
expect_status 3 lafs-detect -q -m m.safetensors </dev/null >out
expect_status 1 lafs-detect -q -m m.safetensors missing-dir >out
message "missing-dir"
ok "cut and missing input"

if [ -e /dev/full ]; then
    expect_status 1 lafs-detect -q -m m.safetensors dir >/dev/full
    message "no space left"
    ok "a full disk"
fi

expect_status 2 lafs-detect -m m.safetensors --min-score 2 dir
expect_status 2 lafs-detect -m m.safetensors --scales 1,x dir
message "'x' is not a factor"
expect_status 2 lafs-detect -m m.safetensors --scales 1, dir
expect_status 2 lafs-detect -m m.safetensors --scales 0 dir
expect_status 2 lafs-detect -m m.safetensors --scales 1,1,1,1,1,1,1,1,1 dir
expect_status 2 lafs-detect -m m.safetensors --scales 2 --one-scale dir
expect_status 2 lafs-detect -m m.safetensors --no-crop --raw dir
expect_status 2 lafs-detect -m m.safetensors --no-crop --align-only dir
ok "misuse"
