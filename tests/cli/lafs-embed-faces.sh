#!/bin/sh
# lafs-embed: what comes out, the same bits whatever -j, --batch and neighbours, baselines, fields that it does not know.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained

expect_status 0 lafs-embed -m m.safetensors -o e.mp faces.lafs
message "9 faces read, 9 written"
lafs-show e.mp >shown
has shown 'embedding  f4 (64)'
hasnt shown jpg
has shown 'people      3'
has shown 'points68   f4 (68, 2)'
has shown 'lafs-embed 0.'
digest=$(sha256sum <m.safetensors | cut -c1-12)
has shown "model $digest.."
expect_status 0 lafs-embed -q --keep -m m.safetensors -o kept.mp faces.lafs
lafs-show kept.mp >shown
has shown 'JPEG 112x112'
lafs-show --npy embedding e.mp >e.npy
lafs-show --npy embedding kept.mp >kept.npy
same e.npy kept.npy
expect_status 0 lafs-embed -q -m grid.safetensors -o grid.mp faces.lafs
lafs-show grid.mp >shown
has shown 'embedding  f4 (64)'
ok "an embedding in place of the picture; --keep; grid models"

for batch in 1 2 7 16; do
    for jobs in 1 4; do
        expect_status 0 lafs-embed -q -m m.safetensors --batch $batch -j $jobs -o other.mp faces.lafs
        same e.mp other.mp
    done
done
lafs-show --json --full e.mp >all.json
expect_status 0 lafs-embed -q -m m.safetensors -n 2 -o two.mp faces.lafs
lafs-show --json --full two.mp >two.json
head -n 2 all.json >first.json
check [ -s first.json ]
same first.json two.json
lafs-shard -q -o stream.mp faces.lafs
expect_status 0 lafs-embed -q -m m.safetensors <stream.mp >piped.mp
lafs-show --json --full piped.mp >piped.json
same all.json piped.json
ok "the same bits whatever -j, --batch, neighbours and the way in"

expect_status 0 lafs-embed -q -m m.safetensors --amplitude half -o half.mp faces.lafs
lafs-show half.mp >shown
has shown 'amplitude half'
lafs-show --npy embedding half.mp >half.npy
check test "$(cmp e.npy half.npy | wc -l)" -eq 1
expect_status 0 lafs-embed -q -m m.safetensors --amplitude full -o full.mp faces.lafs
lafs-show --npy embedding full.mp >full.npy
same e.npy full.npy
expect_status 2 lafs-embed -q --baseline lbp --amplitude half faces.lafs
message "--amplitude needs a model"
ok "pixels of half the amplitude: another embedding, and the header says so"

for baseline in pixel lbp; do
    expect_status 0 lafs-embed -q -j 1 --baseline $baseline -o one.mp faces.lafs
    expect_status 0 lafs-embed -q -j 4 --baseline $baseline -o four.mp faces.lafs
    same one.mp four.mp
done
lafs-show one.mp >shown
has shown ' f4 (3776)'
has shown 'baseline lbp'
lafs-synth -q --people 2 -n 1 | lafs-detect -q --align-only --size 224 -o big.tar
expect_status 0 lafs-embed -q --baseline pixel -o big.mp big.lafs
lafs-show big.mp >shown
has shown ' f4 (150528)'
lafs-synth -q --people 1 -n 1 --size 96 -o photo.tar
expect_status 0 lafs-embed --baseline pixel -o whole.mp photo.lafs
message "these are photos, not aligned faces: a baseline compares them whole"
expect_status 0 lafs-embed --baseline pixel -o big.mp big.lafs
hasnt stderr "not aligned"
ok "baselines, of faces of any size; of photos with a warning"

lafs-select -q --pairs pairs.txt faces.lafs
expect_status 0 lafs-search -p e.mp grid.mp >found
message "embeddings of different models are compared (model $digest, model "
message "): their similarities mean nothing"
check test "$(wc -l <stderr)" -eq 1
expect_status 0 lafs-search -p e.mp e.mp >found
check test ! -s stderr
lafs-embed -q -m m.safetensors -n 4 -o part1.mp faces.lafs
lafs-show --json faces.lafs | sed -n '5,$s/.*"key": "\([^"]*\)".*/\1/p' >rest
lafs-select -q --keys rest -o rest.lafs faces.lafs
lafs-embed -q -m grid.safetensors -o part2.mp rest.lafs
lafs-embed -q -m m.safetensors -o part3.mp rest.lafs
expect_status 0 lafs-verify --pairs pairs.txt part1.mp part2.mp >found
message "embeddings of different models are compared"
expect_status 0 lafs-verify --pairs pairs.txt part1.mp part3.mp >found
hasnt stderr "different models"
expect_status 0 lafs-embed -q -m m.safetensors --amplitude half -o half.mp rest.lafs
expect_status 0 lafs-verify --pairs pairs.txt part1.mp half.mp >found
message "embeddings of one model with --amplitude full and half are compared"
check test "$(grep -c compared stderr)" -eq 1
expect_status 0 lafs-search -p half.mp half.mp >found
check test ! -s stderr
ok "embeddings of different models, or amplitudes, are not compared in silence"

# A field of another program: passes through byte by byte.
lafs-shard -q --to-dir crops faces.lafs
mkdir in out
n=0
for f in crops/*/*.jpg; do
    n=$((n + 1))
    cp "$f" in/k$n.jpg
    printf 'note %d\n\001\377' $n >in/k$n.note
done
tar -cf foreign.tar -C in --sort=name .
expect_status 0 lafs-embed -q -m m.safetensors -o out.tar foreign.tar
tar -xf out.tar -C out
for f in in/*.note; do same "$f" "out/$(basename "$f")"; done
check [ ! -e out/k1.jpg ]
ok "fields of others pass through"
