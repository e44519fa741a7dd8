#!/bin/sh
# Programs survive failing allocations, writes, fsync and rename: a message, exit status 1, nothing half written.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/inject/lib.sh"

lafs-synth -q --people 2 -n 2 --size 96 --seed 3 -o photos
lafs-synth -q --people 2 -n 2 --aligned --seed 3 --pairs pairs.txt -o faces.tar
lafs-embed -q --baseline pixel -o emb faces.lafs
mkdir -p dir/ann dir/bob
tar -xf faces.tar --wildcards '*.jpg'
find . -name '*_0001.jpg' -exec cp {} dir/ann/a.jpg \; -exec cp {} dir/bob/b.jpg \;

inject "lafs-shard, a tar from directories" 40 lafs-shard -q -o out/x-%06d.tar dir
inject "lafs-shard, a stream from shards" 40 lafs-shard -q faces.lafs
echo '{"key": "ann/a", "box": [1, 2, 3, 4], "points": [[1, 2], [3, 4]], "note": "x"}' >add.jsonl
inject "lafs-shard, fields from a file" 20 lafs-shard -q --add add.jsonl -o out/x.tar dir
inject "lafs-shard, directories from shards" 40 lafs-shard -q --to-dir out/photos faces.lafs
inject "lafs-detect" 40 lafs-detect -q -j2 --align-only -o out/faces.msg photos
inject "lafs-embed" 40 lafs-embed -q -j2 --baseline lbp -o out/emb faces.lafs
mkdir png
cp "$TOP/tests/fuzz/corpus/png/square.png" png/a.png
inject "PNG" 40 lafs-embed -q -j1 --baseline pixel -o out/emb png
mkdir -p ijb/loose_crop ijb/meta
cp png/a.png ijb/loose_crop
echo 'a.png 1 2 3 4 5 6 7 8 9 10 0.5' >ijb/meta/x_name_5pts_score.txt
echo 'a.png 1 2' >ijb/meta/x_face_tid_mid.txt
inject "lafs-shard, a folder of IJB" 40 lafs-shard -q -o out/x.tar ijb
inject "lafs-verify" 40 lafs-verify -q -j2 --pairs pairs.txt --bootstrap 20 --json --plot out/roc.svg emb
inject "lafs-search, matches" 40 lafs-search -q -j2 -p emb -k 2 -o out/m.mp emb
inject "lafs-search, figures" 40 lafs-search -q -j2 -p emb --exclude-own --figures --bootstrap 20 --json emb
inject "lafs-synth" 40 lafs-synth -q -j2 --people 1 -n 1 --size 64 --aligned -o out/s.tar

# Training keeps a directory; what stands in it must be whole.
tiny="-q -j2 --size xs --dim 64 --depth 1 --heads 1 --mlp 64 --batch 2 --epochs 1 --warmup 0"
# shellcheck disable=SC2086
lafs-finetune $tiny -o run faces.lafs
# shellcheck disable=SC2086
inject "lafs-finetune" 12 lafs-finetune $tiny -o out/run faces.lafs
# Detectors: training, and finding with what came of it.
lafs-shard -q -o p.tar photos
few="-q -j2 --batch 2 --steps 2 --warmup 1"
for what in refiner detector; do
    # shellcheck disable=SC2086
    lafs-detect-train $few --what $what -o $what p.lafs
    # shellcheck disable=SC2086
    inject "lafs-detect-train, $what" 10 lafs-detect-train $few --what $what -o out/run p.lafs
done
inject "lafs-detect, both looks" 20 lafs-detect -q -j2 -m detector/model.safetensors --refiner refiner/model.safetensors \
    --min-score 0 --best -n 1 -o out/x photos
inject "lafs-convert" 15 lafs-convert -q -o out/x.safetensors run/model.safetensors
inject "lafs-convert, a checkpoint" 15 lafs-convert -q -o out/x.pth run/model.safetensors
inject "lafs-landmark" 12 lafs-landmark -q -j2 -m run/model.safetensors -o out/landmarks faces.lafs
inject "lafs-augment" 15 lafs-augment -q -j2 --render --epochs 0-1 -o out/views faces.lafs
inject "lafs-select" 20 lafs-select -q --shots 1 -o out/few.lafs faces.lafs
# What reads models, and IJB's protocols.
lafs-convert -q -o m.pth run/model.safetensors
inject "lafs-convert, reading a checkpoint" 12 lafs-convert -q -o out/x.safetensors m.pth
inject "lafs-convert, reading one of before PyTorch 1.6" 8 \
    lafs-convert -q -o out/x.safetensors "$TOP/tests/fuzz/corpus/pth/lafs-legacy"
inject "lafs-convert, ONNX" 8 lafs-convert -q -o out/x.onnx run/model.safetensors
inject "lafs-convert, a list" 8 lafs-convert --list m.pth
sed -n '/^[0-9]/p' faces.lafs | cut -f4 | awk '{ print $0 ".jpg", NR, 1 }' >tid_mid.txt
awk '{ print $1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "0.5" }' tid_mid.txt >scores.txt
printf '1 2 1\n1 3 0\n' >templates.txt
printf 'TEMPLATE_ID,SUBJECT_ID\n1,1\n3,2\n' >gallery.csv
printf 'TEMPLATE_ID,SUBJECT_ID\n2,1\n4,2\n' >probe.csv
inject "lafs-verify, templates" 8 lafs-verify -q -j2 --templates tid_mid.txt --face-scores scores.txt -p templates.txt \
    --json emb
inject "lafs-search, templates" 8 lafs-search -q -j2 --templates tid_mid.txt --no-face-score --gallery-list gallery.csv \
    --probe-list probe.csv --json emb
