#!/bin/sh
# lafs-show: contact sheets, models, runs, curves.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

lafs-synth -q --people 2 -n 3 --size 120 -o photos.tar
expect_status 0 lafs-show photos.lafs >text
has text 'photos.lafs: an index of 1 shard'
has text 'made by     lafs-synth'
grep -E '^records +6$' text >/dev/null && grep -E '^people +2$' text >/dev/null || fail_ "$(cat text)"
expect_status 0 lafs-show photos.tar >text
grep -E '^  jpg +JPEG 120x120 ' text >/dev/null || fail_ "$(cat text)"
ok "an index and a shard"

expect_status 0 lafs-show --contact-sheet --columns 4 photos.lafs -o sheet.jpg
expect_status 0 lafs-show sheet.jpg >text # 6 pictures of 160 in 2 rows, with a line of text each
has text 'JPEG 670x358'
expect_status 0 lafs-show --contact-sheet --columns 4 photos.lafs >again.jpg
same sheet.jpg again.jpg
expect_status 2 lafs-show --contact-sheet photos.lafs -o sheet.PNG
message "'sheet.PNG' is a name of a PNG file: JPEG is what is written"
check test ! -e sheet.PNG
expect_status 2 lafs-show --curves nowhere -o curves.jpg
message "'curves.jpg' is a name of a JPEG file: SVG is what is written"
expect_status 0 lafs-show --contact-sheet -n 2 --cell 50 <photos.tar >two.jpg
expect_status 0 lafs-show two.jpg >text
has text 'JPEG 118x72'
lafs-shard -q --to-dir copies -n 1 photos.lafs
cp copies/*/*.jpg copies/a-first.jpg
cp copies/a-first.jpg copies/a-final.jpg
rm -r copies/*/
printf '{"key": "%s", "box": [30, 30, 40, 40]}\n' a-first a-final >boxes
lafs-shard -q --add boxes copies >copies.mp
expect_status 0 lafs-show --contact-sheet copies.mp -o sheet.jpg
expect_status 0 lafs-show sheet.jpg >text # two photos of the same bytes are not two faces of one
has text 'JPEG 338x182'
ok "a contact sheet"

lafs-detect -q --align-only photos.lafs -o faces-%06d.tar
lafs-augment -q -n 2 --locals 3 faces.lafs >views.mp
expect_status 0 lafs-show --views views.mp -o views.jpg
expect_status 0 lafs-show views.jpg >text # two rows: a face and five views of 160
has text 'JPEG 1002x358'
lafs-augment -q -n 2 --locals 3 --render faces.lafs >rendered.mp
expect_status 0 lafs-show --views rendered.mp -o rendered.jpg
expect_status 0 lafs-show rendered.jpg >text # no face, a line more of text
has text 'JPEG 836x378'
ok "views, rendered or not"

record a 1 0 >e.mp
expect_status 1 lafs-show --contact-sheet e.mp -o no.jpg
message "skipping 'a': no picture: no field 'jpg', 'png' or 'rgb'"
check [ ! -e no.jpg ]
expect_status 1 lafs-show --mosaic photos.lafs -o no.jpg
message "no field 'patches': lafs-patch adds it"
expect_status 1 lafs-show --views photos.lafs -o no.jpg
message "no field 'views': lafs-augment adds it"
ok "records without pictures"

vit=$TOP/tests/golden/data/vit.safetensors
expect_status 0 lafs-show "$vit" >text
has text 'a model file'
has text 'metadata    what: ViT on patch tokens'
grep -E '^  embedding196 +F32 +\(2, 96\)  192$' text >/dev/null || fail_ "$(cat text)"
expect_status 0 lafs-show --json "$vit" >json
has json '{"name": "embedding196", "dtype": "F32", "shape": [2, 96]}'
expect_status 0 lafs-show --npy embedding196 "$vit" -o t.npy
has t.npy "'shape': (2, 96), }"
check [ "$(wc -c <t.npy)" = $((256 + 4 * 192)) ]
expect_status 1 lafs-show --npy nothing "$vit" -o no.npy
message "has no tensor 'nothing'"
expect_status 2 lafs-show --count "$vit"
message "is a model: it has no records"
ok "a model"

mkdir run
cat >run/config.json <<'EOF'
{"program": "lafs-pretrain", "version": "1",
 "options": {"epochs": "3", "init": ""}}
EOF
printf '{"step": 1, "epoch": 0, "loss": 9.5, "lr": 0}\n{"step": 2, "epoch": 0, "loss": 8.25, "lr": 1e-4}\n{"step": 3, "epo' >run/log.jsonl
touch run/checkpoint-2.safetensors run/checkpoint-10.safetensors run/checkpoint-x.safetensors
expect_status 0 lafs-show run >text
cat >want <<'EOF'
run: a training run
checkpoints 2, 10 (steps)
model       none yet
last line of the log
  step                 2
  epoch                0
  loss                 8.25
  lr                   0.0001
configuration
  program              lafs-pretrain
  version              1
  options
    epochs               3
    init                 -
EOF
same text want
expect_status 0 lafs-show --json run >json
has json '"checkpoints": [2, 10], "model": false, "last": {"step": 2,'
check [ "$(wc -l <json)" = 1 ]
expect_status 0 lafs-show --curves run >curves.svg
has curves.svg '>loss</text>'
has curves.svg '>lr</text>'
hasnt curves.svg '>epoch</text>'
expect_status 0 lafs-show --curves run/log.jsonl -o again.svg
same curves.svg again.svg
mkdir other
printf '{"step": 1, "loss": 9.25}\n{"step": 2, "loss": 8, "kl": 1}\n{"step": 3, "loss": 7}\n' >other/log.jsonl
expect_status 0 lafs-show --curves run other >two.svg
check [ "$(grep -c '>other</text>' two.svg)" = 2 ] # beside loss and kl; lr is run's alone
check [ "$(grep -c '>run</text>' two.svg)" = 2 ]
check [ "$(grep -o '<path [^>]*' two.svg | grep -v 'd="M[^L]*"' | sed 's/.*stroke="\([^"]*\).*/\1/' | sort -u | wc -l)" = 2 ]
expect_status 2 lafs-show --curves run run run run run run run
message "--curves draws 1 to 6 runs"
expect_status 2 lafs-show --count run
printf '{"step": 1, "loss": }\n' >run/log.jsonl
expect_status 1 lafs-show --curves run
message "'run' line 1"
: >run/log.jsonl
expect_status 1 lafs-show --curves run
message "holds no numbers yet"
ok "a run and its curves"
