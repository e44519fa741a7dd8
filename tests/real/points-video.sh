#!/bin/sh
# The published detector's five points, rough and refined, on video frames of which 68 points are known: median over frames of the mean
# distance, in units of the distance of the eyes.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
. "$TOP/tests/real/lib.sh"
shared "points of video frames"

# found OPTIONS: what is found in frames.lafs, to found.txt
found() {
    expect_status 0 lafs-detect -q --one-scale --best --no-crop -m yunet.safetensors "$@" -o found.mp frames.lafs
    lafs-show --json found.mp | sed 's/"key": "\([^"]*\)".*"points": \[\[\([^"]*\)\]\], .*/\1 \2/; s/[]\[{,]/ /g' >found.txt
}
lafs-shard -q -o frames-%06d.tar "$DATA/youtube-keypoints-train.tar"
found --no-refine
# Eyes are the means of their corners: 36 and 39, 42 and 45; nose 30, corners of the mouth 48 and 54.
tr ',' ' ' <"$DATA/youtube-keypoints-train.csv" | sed 1d | awk '
    function px(i) { return $(2 + 2 * i) }
    function py(i) { return $(3 + 2 * i) }
    { sub(/\.jpg$/, "", $1)
      print $1, (px(36) + px(39)) / 2, (py(36) + py(39)) / 2, (px(42) + px(45)) / 2, (py(42) + py(45)) / 2,
            px(30), py(30), px(48), py(48), px(54), py(54) }' >true.txt
awk 'NR == FNR { at[$1] = $0; next }
    { split(at[$1], t, " "); eyes = sqrt((t[2] - t[4]) ^ 2 + (t[3] - t[5]) ^ 2); e = 0
      for (i = 2; i <= 10; i += 2) e += sqrt((t[i] - $i) ^ 2 + (t[i + 1] - $(i + 1)) ^ 2)
      if (eyes > 0) print e / 5 / eyes }' true.txt found.txt | sort -g >errors.txt
found=$(wc -l <errors.txt)
all=$(wc -l <true.txt)
median=$(awk '{ e[NR] = $1 } END { print e[int((NR + 1) / 2)] }' errors.txt)
echo "note $found of $all frames have a face; median error $median of the eyes' distance"
check [ "$all" -gt 2000 ]
awk -v f="$found" -v n="$all" -v m="$median" 'BEGIN { exit !(f >= 0.99 * n && m > 0.02 && m < 0.12) }' || fail_ "error $median"
ok "points of video frames"

# The shipped refiner, on people that it has not seen: at least a fifth better than what it is given.
lafs-select -q --hash 10:0,1 -o held.lafs frames.lafs
mv held.lafs frames.lafs
found --no-refine
"$TOP/examples/points.sh" true.txt found.txt >rough
found --refiner "$TOP/share/models/refiner.safetensors"
"$TOP/examples/points.sh" true.txt found.txt >refined
echo "note people that no training saw, rough: $(cat rough); refined: $(cat refined)"
sed -n 's/.*median \([0-9.]*\).*/\1/p' rough refined | xargs |
    awk '{ exit !($2 > 0 && $2 < 0.8 * $1) }' || fail_ "the refiner is of no use"
ok "refined points"
