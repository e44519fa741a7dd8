#!/bin/bash
# usage: tests/man/prepare.sh DIR
#
# Makes in DIR what the examples of the manual pages work on: photos/, faces.lafs with faces-000000.tar (aligned crops
# of 112 with names), ssl.lafs (the same without names), pairs.txt (LFW form), part.safetensors (a small untrained model).
# Programs are those on PATH.
set -eu
cd "$1"
lafs-synth -q --people 8 -n 32 --size 250 --seed 7 -o photos.tar
mkdir photos
tar -xf photos.tar -C photos --wildcards '*.jpg'
lafs-detect -q --align-only photos.lafs -o faces-%06d.tar
mv photos.tar photos.lafs "$OLDPWD"/ 2>/dev/null || true
