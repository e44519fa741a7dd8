#!/bin/sh
# usage: tests/man/prepare.sh DIR
#
# Makes in DIR what the examples of the manual pages work on: photos/ (NAME/NAME_0001.jpg), faces.lafs with
# faces-000000.tar (aligned crops of 112 with names), ssl.lafs (the same without names), pairs.txt (LFW form),
# part.safetensors (a small model, hardly trained). Programs are those on PATH.
set -eu
cd "$1"
people="--people 10 -n 4 --seed 7"
lafs-synth -q $people --pairs pairs.txt | lafs-shard -q --to-dir photos
lafs-synth -q $people --aligned -o faces-%06d.tar
mkdir flat
lafs-shard -q --to-dir crops faces.lafs
for f in crops/*/*.jpg; do ln "$f" flat/; done
lafs-shard -q --aligned -o ssl-%06d.tar flat
lafs-finetune -q --stage 1 --size xs --batch 8 --epochs 1 -o run faces.lafs
mv run/model.safetensors part.safetensors
rm -r crops flat run
