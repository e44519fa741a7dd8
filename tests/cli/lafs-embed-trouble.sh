#!/bin/sh
# lafs-embed: models that are none or of another kind, faces of another kind, bad records, cut input, misuse.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
. "$TOP/tests/cli/detector.inc"
models_trained

expect_status 1 lafs-embed -m missing -o never.tar faces.lafs
message "lafs-embed: cannot open 'missing': no such file or directory"
expect_status 1 lafs-embed -m faces.lafs -o never.tar faces.lafs
message "'faces.lafs'"
message "no safetensors file"
head -c 20000 m.safetensors >cut.safetensors
expect_status 1 lafs-embed -m cut.safetensors -o never.tar faces.lafs
message "'cut.safetensors'"
lafs-convert -o m.pth m.safetensors
expect_status 1 lafs-embed -m m.pth -o never.tar faces.lafs
message "'m.pth': no safetensors file but, by its beginning, a checkpoint of PyTorch: see lafs-convert"
mkdir -p run
expect_status 1 lafs-embed -m run -o never.tar faces.lafs
message "'run' is a directory; a run's model is model.safetensors in it"
toy_detector detector.safetensors never
expect_status 1 lafs-embed -m detector.safetensors -o never.tar faces.lafs
message "'detector.safetensors': it holds neither a ViT nor a landmark CNN"
lafs-convert --set architecture=yunet-n -o named.safetensors m.safetensors
expect_status 1 lafs-embed -m named.safetensors -o never.tar faces.lafs
message "the model is a 'yunet-n', not a recogniser ('part_fvit')"
expect_status 2 lafs-embed -m cnn.safetensors -o never.tar faces.lafs
message "the model has no ViT: it gives landmarks, no embeddings"
expect_status 2 lafs-embed -m vit.safetensors -o never.tar faces.lafs
message "the model has no landmark CNN"
lafs-convert --drop mlp_head.0.bias -o less.safetensors m.safetensors
expect_status 1 lafs-embed -m less.safetensors -o never.tar faces.lafs
message "'less.safetensors': tensor 'mlp_head.0.bias' is missing"
lafs-convert --set dim=128 -o says.safetensors m.safetensors
expect_status 1 lafs-embed -m says.safetensors -o never.tar faces.lafs
message "its metadata says dim = 128, its tensors 64"
check [ ! -e never.lafs ]
ok "models that do not serve"

# A checkpoint as the authors' trainer leaves it: the teacher counts.
lafs-convert --rename =teacher.backbone. -o teacher.safetensors m.safetensors
expect_status 0 lafs-embed -q -m m.safetensors -o e.mp faces.lafs
expect_status 0 lafs-embed -q -m teacher.safetensors -o t.mp faces.lafs
lafs-show --json --full e.mp >e.json
lafs-show --json --full t.mp >t.json
same e.json t.json
ok "names behind prefixes"

lafs-shard -q --to-dir crops faces.lafs
lafs-shard -q --aligned -o bgr.tar crops
sed '2s/rgb/bgr/' bgr.lafs >swapped.lafs
expect_status 2 lafs-embed -m m.safetensors -o never.tar swapped.lafs
message "lafs-embed: the faces' channels are bgr, the model wants rgb"
lafs-synth -q --people 2 -n 1 -o photos.tar
lafs-detect -q --align-only --size 224 -o big.tar photos.lafs
expect_status 2 lafs-embed -m m.safetensors -o never.tar big.lafs
message "the faces are 224 pixels wide, the model wants 112"
expect_status 2 lafs-embed -m m.safetensors -o never.tar photos.lafs
message "these are photos, not aligned faces, which the model wants: lafs-detect makes them"
lafs-convert --set pixels.channels=bgr -o other.safetensors m.safetensors
expect_status 2 lafs-embed -m other.safetensors -o never.tar faces.lafs
message "the faces' channels are rgb, the model wants bgr"
lafs-shard -q --aligned -o given.tar crops # aligned by somebody
expect_status 0 lafs-embed -q -m m.safetensors -o given.mp given.lafs
check [ ! -e never.lafs ]
ok "faces that do not suit the model"

# One cut off, one of another size (in a directory, which says nothing of its pixels).
mkdir bad
i=0
for f in crops/*/*.jpg; do
    i=$((i + 1))
    cp "$f" bad/f$i.jpg
done
head -c 700 bad/f3.jpg >cut.jpg && mv cut.jpg bad/f3.jpg
lafs-shard -q --to-dir shots photos.lafs
cp "$(find shots -name '*.jpg' | sort | head -n 1)" bad/f5.jpg
tar -cf bad.tar -C bad --sort=name .
expect_status 1 lafs-embed -m m.safetensors --rejects why -o never.mp bad.tar
message "9 faces read, 7 written, 2 bad"
message "2 of 9 records were bad, more than --max-bad 0.01 allows"
check [ ! -e never.mp ]
check [ "$(wc -l <why)" = 2 ]
has why '"key": "f3"'
has why 'the picture is 250 x 250 pixels, not 112 x 112 (align it with lafs-detect)'
for jobs in 1 4; do
    expect_status 0 lafs-embed -q -j $jobs --max-bad 0.3 --batch 4 -m m.safetensors -o good$jobs.mp bad.tar
done
same good1.mp good4.mp
lafs-show --count good1.mp >count
check [ "$(cat count)" = 7 ]
rm bad/f3.jpg bad/f5.jpg
tar -cf rest.tar -C bad --sort=name .
expect_status 0 lafs-embed -q -m m.safetensors -o rest.mp rest.tar
lafs-show --json --full good1.mp >good.json
lafs-show --json --full rest.mp >rest.json
same good.json rest.json
expect_status 1 lafs-embed -m m.safetensors -o never.mp e.mp
message "no picture: no field 'jpg', 'png' or 'rgb'"
ok "bad records are skipped, counted, named; others stay as they are"

lafs-shard -q faces.lafs | head -c 9000 >cut.mp
expect_status 3 lafs-embed -q -m m.safetensors -o never.mp cut.mp
expect_status 3 lafs-embed -q --baseline lbp -o never.mp cut.mp
expect_status 3 lafs-embed -q -m m.safetensors </dev/null >out
expect_status 1 lafs-embed -q -m m.safetensors -o never.mp missing-input
check [ ! -e never.mp ]
if [ -e /dev/full ]; then
    expect_status 1 lafs-embed -q -m m.safetensors faces.lafs >/dev/full
fi
ok "cut and missing input, a full disk"

expect_status 2 lafs-embed faces.lafs
message "give a model with -m, or --baseline"
expect_status 2 lafs-embed -m m.safetensors --baseline lbp faces.lafs
expect_status 2 lafs-embed --baseline sift faces.lafs
message "sift"
cp m.safetensors kept.safetensors
for out in -o --rejects --log; do
    expect_status 2 lafs-embed -m m.safetensors $out ./m.safetensors faces.lafs
    message "--model and --"
done
same m.safetensors kept.safetensors
expect_status 2 lafs-embed -m m.safetensors --batch 0 faces.lafs
expect_status 2 lafs-embed -m m.safetensors --batch 4097 faces.lafs
expect_status 2 lafs-embed -m m.safetensors --device tpu faces.lafs
ok "misuse"
