#!/bin/sh
# lafs-detect --align-only: by points and by points68, without a model; what lies on the template stays where it is.
set -eu
. "$(dirname "$0")/lib.sh"
lafs-synth -q --people 2 -n 2 --size 160 -o photos.tar

expect_status 0 lafs-detect -q --align-only -o a-%06d.tar photos.lafs
has a.lafs arcface5
expect_status 0 lafs-detect -q --align-only -j 1 photos.lafs >one.mp
expect_status 0 lafs-detect -q --align-only -j 3 photos.lafs >three.mp
same one.mp three.mp
tar -tf a-000000.tar | grep -c '\.jpg$' >count
check test "$(cat count)" = 4
ok "aligns by points, the same bytes on 1 and 3 threads"

# The box is the bounding rectangle of the photo's, turned as the crop is; and the crop is no longer what was embedded.
lafs-show --json a.lafs | sed 's/.*"box": \[\([^]]*\)\], "points".*"src": {.*"box": \[\([^]]*\)\], .*"matrix": \[\[\([^]]*\)\], \[\([^]]*\)\]\].*/\1, \2, \3, \4/' >boxes
check awk -F ', ' '
    { for (i = 0; i < 4; i++) {
        x = $5 + i % 2 * $7; y = $6 + int(i / 2) * $8
        u = $9 * x + $10 * y + $11; v = $12 * x + $13 * y + $14
        l = !i || u < l ? u : l; r = !i || u > r ? u : r; t = !i || v < t ? v : t; b = !i || v > b ? v : b }
      if (NF != 14 || (l - $1)^2 + (t - $2)^2 + (r - l - $3)^2 + (b - t - $4)^2 > 1e-6) bad = 1 }
    END { exit bad || NR != 4 }' boxes
lafs-show --json photos.lafs | sed 's/\("key": "[^"]*"\).*/\1, "embedding": 1, "landmarks": 2, "kept": 3}/' >more.jsonl
lafs-shard -q --add more.jsonl photos.lafs | lafs-detect -q --align-only | lafs-show --json >shown
has shown '"kept": 3'
for field in embedding landmarks; do hasnt shown $field; done
ok "boxes in crops; what is stale goes"

# A record without points, one with points that are one, one that is right.
printf '\201\243key\241a' >bad.mp
expect_status 1 lafs-detect --align-only -o b.mp bad.mp
message "skipping 'a': no picture"
expect_status 0 lafs-shard -q -o plain.mp photos.tar
lafs-detect -q --align-only photos.lafs >aligned.mp
expect_status 2 lafs-detect --align-only aligned.mp >out
message "aligned already"
ok "refuses aligned faces; a record without a picture is bad"

mkdir dir
tar -xf photos.tar -C dir --wildcards '*.jpg'
expect_status 1 lafs-detect --align-only --rejects why -o b.mp dir
message "nothing to align by"
check test "$(wc -l <why)" = 4
has why "neither field 'points' nor 'points68'"
check test ! -e b.mp
ok "photos without points are bad records"

expect_status 2 lafs-detect --align-only --best photos.lafs
expect_status 2 lafs-detect --align-only --no-crop photos.lafs
expect_status 2 lafs-detect --align-only -m x photos.lafs
expect_status 2 lafs-detect --align-only --min-score 0.9 photos.lafs
message "no --min-score or --min-size"
expect_status 2 lafs-detect --align-only --min-size 20 photos.lafs
expect_status 2 lafs-detect --align-only --size 100 photos.lafs
message "not within 112"
expect_status 2 lafs-detect --align-only --size 120 photos.lafs
message "multiple of 112"
ok "options that make no sense together"
