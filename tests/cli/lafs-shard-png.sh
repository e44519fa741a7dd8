#!/bin/sh
# PNG photos go wherever JPEG ones go: directories, tars, lists, single files; shards and back; every program's decoder.
set -eu
. "$(dirname "$0")/lib.sh"
png=$TOP/tests/fuzz/corpus/png jpg=$TOP/tests/fuzz/corpus/jpeg
mkdir -p d/ann d/bob
cp "$png/rgba.png" "$png/rgb16-adam7.png" d/ann
cp "$png/palette4.png" "$jpg/rgb.jpg" d/bob
cp "$png/exif-first.png" d/bob/misnamed.jpg
fields() { lafs-show --json "$@" | sed -nE 's/.*"key": "([^"]*)".*"((jpeg|png)": \[[0-9]*, [0-9]*\]).*/\1 \2/p' | tr -d '"'; }
printf '%s\n' 'ann/rgb16-adam7 png: [11, 7]' 'ann/rgba png: [12, 9]' 'bob/misnamed png: [7, 11]' \
    'bob/palette4 png: [11, 7]' 'bob/rgb jpeg: [48, 32]' >want

expect_status 0 lafs-shard --names none d -o x.tar
fields x.lafs >got
same want got
check test "$(tar -tf x.tar | tr '\n' ' ')" = "__lafs__ ann/rgb16-adam7.png ann/rgba.png bob/misnamed.png bob/palette4.png bob/rgb.jpg __end__ "
ok "a directory of both kinds; the suffix in a shard is what the bytes are"

tar -cf t.tar -C d . && find d -type f | sort >list
for how in t.tar "--list list" x.tar "d/ann d/bob"; do
    # shellcheck disable=SC2086
    lafs-shard -q $how >s.stream
    fields s.stream | sed 's,^d/,,' | sort >got
    same want got
done
lafs-shard -q <"$png/rgba.png" >one.stream
check test "$(fields one.stream)" = "photo png: [12, 9]"
lafs-shard -q --to-dir back x.lafs
mv back/bob/misnamed.png back/bob/misnamed.jpg
check diff -r d back
ok "tars, lists, one file; back to a directory as they came"

mkdir both && cp "$png/grey2-trns.png" both/a.png && cp "$jpg/rgb.jpg" both/a.jpg && cp "$jpg/rgb.jpg" both/a.mask.png
tar -cf both.tar --sort=name -C both .
lafs-shard -q both.tar -o y.tar
tar -tf y.tar >members
printf '%s\n' __lafs__ ./a.jpg ./a.png ./a.mask.png __end__ | sed 's,^\./,,' >want
same want members
lafs-shard -q y.tar -o z.tar
tar -tf z.tar >again
same members again
check test "$(tar -xOf z.tar a.png a.mask.png | cksum)" = "$(cat "$png/grey2-trns.png" "$jpg/rgb.jpg" | cksum)"
lafs-show --contact-sheet y.lafs >sheet.jpg
check test -s sheet.jpg
ok "a sample with both keeps both"

# The same pixels as PNG and as raw field give the same of every program that decodes.
lafs-synth -q --people 2 -n 2 --size 160 -o photos.tar
if /usr/bin/python3 -c 'import PIL' 2>/dev/null; then
    lafs-shard -q --to-dir p photos.lafs
    /usr/bin/python3 -c '
import glob, os
from PIL import Image
for f in glob.glob("p/*/*.jpg"):
    Image.open(f).save(f[:-4] + ".png")
    os.remove(f)'
    . "$TOP/tests/cli/detector.inc"
    toy_detector toy.safetensors always
    lafs-shard -q --to-dir q photos.lafs
    lafs-detect -q -m toy.safetensors --raw --best p >p.stream
    lafs-detect -q -m toy.safetensors --raw --best q >q.stream
    check test "$(lafs-show --json p.stream | wc -l)" = 4
    lafs-show --npy rgb p.stream >p.npy
    lafs-show --npy rgb q.stream >q.npy
    cmp -s p.npy q.npy || /usr/bin/python3 -c '
import sys
a, b = (open(n, "rb").read() for n in ("p.npy", "q.npy"))
sys.exit(len(a) != len(b) or max(abs(x - y) for x, y in zip(a, b)) > 3)' || fail_ "crops of PNG and of JPEG differ"
    ok "lafs-detect sees the same in a PNG as in a JPEG"
else
    skip "lafs-detect sees the same in a PNG as in a JPEG" "no Pillow in /usr/bin/python3"
fi

mkdir e && cp "$png/rgb.png" e/good.png && head -c 200 "$png/rgb.png" >e/cut.png
printf 'GIF89a' >e/x.gif && printf '?' >e/y.heic && cp "$png/bomb" e/bomb.png
expect_status 1 lafs-shard --rejects r e >none
has r '"x", "reason": "neither a JPEG nor a PNG photo but a GIF picture: convert it first"'
has r "\"y\", \"reason\": \"neither a JPEG nor a PNG photo but, by its name, one of kind 'heic'\""
check test "$(wc -l <r)" = 2
lafs-shard -q --max-bad 1 e >e.stream
expect_status 1 lafs-embed --baseline pixel --rejects r e.stream >none
has r '"cut", "reason": "truncated PNG"'
has r '"bomb", "reason": "picture of 2147483647 x 2147483647 is more than 100000000 pixels"'
ok "what is broken or of another kind is named and counted"
