#!/bin/sh
# lafs-finetune --pairs: the accuracy in its log is what lafs-verify says of the model that it keeps, which is the best
# one; photos that the index lacks, has twice, or has in another size are named.
set -eu
. "$(dirname "$0")/lib.sh"

lafs-synth -q --people 12 -n 3 --aligned --pairs pairs -o faces.tar
tiny="-q -j 2 --dim 64 --depth 1 --heads 1 --mlp 64 --stage 1 --batch 12 --epochs 3 --warmup 0 --lr 1e-3"
# shellcheck disable=SC2086
expect_status 0 lafs-finetune $tiny --pairs pairs --pairs-index faces.lafs -o run faces.lafs
sed -n 's/.*"accuracy": \([0-9.]*\).*/\1/p' run/log.jsonl >accuracies
check [ "$(wc -l <accuracies)" = 3 ]
lafs-embed -q -m run/model.safetensors faces.lafs | lafs-verify --json -p pairs >figures
kept=$(sed -n 's/.*"accuracy": \([0-9.]*\).*/\1/p' figures)
check awk -v kept="$kept" '$1 > best { best = $1 } END { exit !(kept - best < 1e-9 && best - kept < 1e-9) }' accuracies
ok "the best model is kept, and verified as lafs-verify does"

# What is in the files counts, not their names.
cp pairs moved
# shellcheck disable=SC2086
expect_status 0 lafs-finetune $tiny --pairs moved --pairs-index ./faces.lafs -o run faces.lafs
sed '2{h;d};3G' pairs >moved # two lines change places
# shellcheck disable=SC2086
expect_status 2 lafs-finetune $tiny --pairs moved --pairs-index faces.lafs -o run faces.lafs
message "pairs was "
lafs-shard -q -o other.tar faces.lafs
# shellcheck disable=SC2086
expect_status 2 lafs-finetune $tiny --pairs pairs --pairs-index other.lafs -o run faces.lafs
message "pairs was "
ok "a run goes on with the same pairs only"

# refused TEXT PAIRS INDEX
refused() {
    # shellcheck disable=SC2086
    expect_status 1 lafs-finetune $tiny --pairs "$2" --pairs-index "$3" -o none faces.lafs
    message "$1"
    check [ ! -e none ]
}
# An index with a person's photos in two places.
mkdir -p x/again
tar -C x --exclude="__*" -xf faces.tar
cp -r x/s000000 x/again/
(cd x && tar --sort=name -cf ../both.tar -- *)
lafs-shard -q -o twice.tar both.tar
refused "'twice.lafs': 's000000/s000000_0001': this photo, or another whose key ends in 's000000/s000000_0001'" pairs twice.lafs
sed 's/^s000003/nobody/' pairs >unknown
refused "photo 'nobody/nobody_0001' of the pairs is not in 'faces.lafs'" unknown faces.lafs
printf 's000000/s000000_0001 s000000/s000000_0002 1\n' >one
refused "'one': at least two folds are needed" one faces.lafs
lafs-synth -q --people 12 -n 3 --size 64 -o small.tar
refused "64 x 64 pixels, not 112 x 112" pairs small.lafs
ok "what cannot be verified is named"
