#!/bin/sh
# The models of share/models: both are found without an option, say where they come from, and find and align rendered
# faces. How well they do on real ones is for tests/real.
set -eu
. "$(dirname "$0")/lib.sh"
models=$TOP/share/models
if [ ! -e "$models/detector.safetensors" ]; then
    skip "the shipped detector" "there is none yet"
    exit 0
fi
unset LAFS_MODEL_PATH
for m in detector refiner; do
    lafs-show "$models/$m.safetensors" >shown
    for what in licence data training intended_use; do has shown "$what"; done
    ok "$m.safetensors says where it comes from"
done

lafs-synth -q --people 24 -n 1 --seed 11 -o photos.tar
expect_status 0 lafs-detect --best --no-crop -o found.mp photos.lafs
message "24 photos read, 24 written"
expect_status 0 lafs-detect -q --best --no-crop -m "$models/detector.safetensors" --refiner "$models/refiner.safetensors" \
    -o named.mp photos.lafs
lafs-show --json found.mp >found.json
lafs-show --json named.mp >named.json
same found.json named.json
ok "found without an option: a face in each of 24 rendered photos"

# points.sh takes lines "key x1 y1 .. x5 y5".
points() { lafs-show --json "$1" | sed 's/.*"key": "\([^"]*\)".*"points": \[\[\([^"]*\)\]\], .*/\1 \2/; s/[]\[{,]/ /g'; }
points photos.lafs >true.txt
points found.mp >found.txt
sh "$TOP/examples/points.sh" true.txt found.txt >figures
sed 's/^/note rendered faces: /' figures
awk '{ exit !($1 == 24 && $4 + 0 > 0 && $4 + 0 < 0.12) }' figures || fail_ "points of rendered faces: $(cat figures)"
ok "points lie on the features"
