#!/bin/sh
# Photos of people: the published detector finds a face in each; local binary patterns of what it aligns verify as they
# should.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
. "$TOP/tests/real/lib.sh"
shared "a face in each photo, and figures"

expect_status 0 lafs-detect --no-progress --one-scale --best -m yunet.safetensors -o faces.tar "$DATA/lfw-devtrain.tar"
message "9525 photos read, 9525 written"
sed 's/^/    /' stderr
lafs-show --count faces.lafs >count
check [ "$(cat count)" = 9525 ]
ok "a face in each of 9525 photos"

if [ -e "$TOP/share/models/detector.safetensors" ]; then
    expect_status 0 lafs-detect --no-progress --best -o own.tar "$DATA/lfw-devtrain.tar"
    message "9525 photos read, 9525 written"
    sed 's/^/    /' stderr
    ok "the shipped detector: a face in each of 9525 photos"
else
    skip "the shipped detector: a face in each of 9525 photos" "there is none yet"
fi

lafs-select -q --hash 10:1 -o settings.lafs faces.lafs
lafs-embed -q --baseline lbp settings.lafs >lbp.mp
expect_status 0 lafs-verify --pairs "$DATA/pairs-settings.txt" lbp.mp >text
check grep -q -E '^accuracy +[0-9.]+ %$' text
expect_status 0 lafs-verify --pairs "$DATA/pairs-settings.txt" --json lbp.mp >json
has json '"pairs": 1000'
has json '"missing": 0'
accuracy=$(sed 's/.*"accuracy": \([0-9.]*\).*/\1/' json)
echo "note local binary patterns on the settings pairs: 10-fold accuracy $accuracy"
awk -v a="$accuracy" 'BEGIN { exit !(a > 0.68 && a < 0.78) }' || fail_ "accuracy of local binary patterns $accuracy"
ok "local binary patterns verify as they should"
