#!/bin/sh
# Views: the same bytes whatever -j, what the header says, order and place, resuming, bad input.
set -eu
. "$(dirname "$0")/lib.sh"

count() { LC_ALL=C grep -a -o -P "$1" "$2" | wc -l; }
crops() { tr '\n' '\377' <"$1" | LC_ALL=C grep -a -o -P 'crop_bicubic.{4}' | od -An -v -tx1 -w17; } # with their four numbers

lafs-synth -q --people 3 -n 3 --aligned -o faces.tar
expect_status 0 lafs-augment -q -j 1 --render --epochs 0-1 faces.lafs >one
expect_status 0 lafs-augment -q -j 4 --render --epochs 0-1 faces.lafs >four
same one four
expect_status 0 lafs-augment -q --render --epochs 0-1 --seed 2 faces.lafs >other
check [ -s one ]
if cmp -s one other; then fail_ "--seed changes nothing"; fi
ok "threads: -j changes nothing, --seed does"

expect_status 0 lafs-augment faces.lafs -o plans
message "9 faces read, 9 written"
expect_status 0 lafs-augment -q --epochs 3-4 --seed 7 faces.lafs -o plans34
expect_status 0 lafs-augment -q -n 4 --train faces.lafs -o train
has plans34 lafs-augment
check [ "$(count 'seed\x07' plans34)" -eq 1 ]
check [ "$(count 'epochs\x92\x03\x04' plans34)" -eq 1 ]
check [ "$(count 'images\x09' plans34)" -eq 1 ]
check [ "$(count '\xa5epoch\x03' plans34)" -eq 9 ]
check [ "$(count '\xa5epoch\x04' plans34)" -eq 9 ]
check [ "$(count 'position\x08' plans34)" -eq 2 ]
check [ "$(count crop_bicubic plans34)" -eq 180 ]
check [ "$(count '\xa3jpg' plans34)" -eq 18 ]
check [ "$(count crop_bilinear train)" -eq 4 ]
check [ "$(count 'kind\xa5train' train)" -eq 4 ]
ok "plans: header, epoch, position, operations"

check [ "$(count '\xa5clean\x85' one)" -eq 180 ]
check [ "$(count '\xa9augmented\x85' one)" -eq 180 ]
check [ "$(count '\xa3jpg' one)" -eq 0 ]
expect_status 0 lafs-augment -q --render --keep -n 1 faces.lafs -o kept
check [ "$(count '\xa3jpg' kept)" -eq 1 ]
expect_status 0 lafs-augment -q --render --method dino --globals 1 --locals 3 -n 1 faces.lafs -o dino
check [ "$(count '\xa5clean\x85' dino)" -eq 0 ]
check [ "$(count 'size\x30' dino)" -eq 3 ]
check [ "$(count 'kind\xa5local' dino)" -eq 3 ]
check [ "$(count 'kind\xa6global' dino)" -eq 1 ]
ok "what is rendered"

# From a stream: in the order it comes, one epoch, the same plans.
lafs-shard -q faces.lafs -o stream
expect_status 0 lafs-augment -q --epochs 3 --seed 7 <stream >from-stream
check [ "$(count '\xa5epoch\x03' from-stream)" -eq 9 ]
check [ "$(count position from-stream)" -eq 0 ]
crops plans34 | head -90 | sort >crops.index
crops from-stream | sort >crops.stream
same crops.index crops.stream
ok "a stream: the same plans as from the index"

expect_status 2 lafs-augment --epochs 0-1 stream
message "several epochs need one index"
expect_status 2 lafs-augment --resume run stream
expect_status 2 lafs-augment --epochs 0-1 -o x.tar faces.lafs
message "cannot go into shards"
for bad in x 3- -3 3-2 1-x 1-2-3 99999999999999999999; do
    expect_status 2 lafs-augment "--epochs=$bad" -o out faces.lafs
    message "--epochs"
done
for of_training in "--randaugment 2" "--crop-min 1" "--jitter 0" "--erase 0" --no-flip; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-augment $of_training -o out faces.lafs
    message "go with --train"
done
for of_pretraining in "--method dino" "--globals 1" "--locals 0" "--global-min 1" "--local-min 1" "--local-max 1"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-augment --train $of_pretraining -o out faces.lafs
    message "do not go with --train"
done
expect_status 2 lafs-augment --local-min 0.9 --local-max .5 -o out faces.lafs
message "a local crop's area cannot be from 0.9 to 0.5 of the image's"
expect_status 2 lafs-pretrain --landmarks grid --local-min 0.9 --local-max .5 -o run faces.lafs
message "a local crop's area cannot be from 0.9 to 0.5 of the image's"
check [ ! -e out ] && check [ ! -e run ]
ok "misuse"

# A picture that is none: skipped, counted, and too many of them fail the whole.
lafs-shard -q faces.lafs --to-dir photos
for f in $(find photos -name '*.jpg' | head -1); do head -c 700 "$f" >cut.jpg && cp cut.jpg "$f"; done
lafs-shard -q --aligned photos -o broken.tar
expect_status 1 lafs-augment broken.lafs -o out --rejects rejects
message "truncated JPEG"
message "1 bad"
has rejects '"reason"'
expect_status 0 lafs-augment -q --max-bad 0.2 --render broken.lafs -o out
check [ "$(count '\xa5epoch' out)" -eq 8 ]
expect_status 1 lafs-augment missing.lafs -o never
check [ ! -e never ]
lafs-shard -q faces.lafs | head -c 20000 >cut
expect_status 3 lafs-augment -q cut -o never
check [ ! -e never ]
ok "bad pictures, missing and cut input"

tiny="--dim 64 --depth 1 --heads 1 --mlp 64 --out-dim 32 --hidden 32 --bottleneck 16 --batch 4 --warmup 0 -q"
pipe() { lafs-augment -q --render "$@" faces.lafs | lafs-patch -q --grid; }
# shellcheck disable=SC2086
pipe --epochs 0-1 | lafs-pretrain $tiny --landmarks grid --epochs 2 -o whole
# shellcheck disable=SC2086
pipe --epochs 0-0 | lafs-pretrain $tiny --landmarks grid --epochs 1 -o run
expect_status 0 lafs-augment -v --epochs 0-1 --resume none faces.lafs -o all
message "no checkpoint yet"
expect_status 0 lafs-augment -v --epochs 0-1 --resume run faces.lafs -o rest
message "beginning at epoch 1, image 0"
check [ "$(count '\xa5epoch' all)" -eq 18 ]
check [ "$(count '\xa5epoch\x01' rest)" -eq 9 ]
crops all | tail -90 >tail.all
crops rest >tail.rest
same tail.all tail.rest
ok "resume: begins where the run stands"
