#!/bin/sh
# lafs-shard and lafs-select when memory, disk or renames fail: a clean failure each time.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/inject/lib.sh"

for i in 1 2 3 4 5 6; do
    mkdir -p "d/p$i"
    printf '\377\330\377 %s' $i >"d/p$i/J\303\266rg $i.jpg"
done
lafs-shard -q d -o x-%02d.tar --shard-samples 4
inject "directory to shards" 25 lafs-shard -q d -o out/y-%02d.tar --shard-samples 2
inject "index to a stream file" 25 lafs-shard -q x.lafs -o out/y.stream
inject "select" 25 lafs-select -q --shots 1 -o out/y.lafs x.lafs
tar -cf foreign.tar d/p1 d/p2
inject "select from a tar" 100 lafs-select -q -o out/y.lafs foreign.tar

lafs-synth -q -p 2 -n 2 --aligned -o f.tar
lafs-shard -q --to-rec r f.lafs
inject "RecordIO to shards" 25 lafs-shard -q r.rec -o out/y.tar
inject "shards to RecordIO" 25 lafs-shard -q --to-rec out/y f.lafs
for n in 1 2 3 4; do # property, .idx, .names, .rec
    cp r.rec r.idx r.names property out
    expect_status 1 env LD_PRELOAD="$SHIM" LAFS_FAIL=rename:$n lafs-shard -q --to-rec out/r f.lafs
    check [ ! -e out/r.rec ]
done
ok "no old records beside what is new"
lafs-shard -q "$TOP/tests/fuzz/corpus/verifyset/np2-4-array-scalar" -o v.tar
inject "a verification set to shards" 25 lafs-shard -q "$TOP/tests/fuzz/corpus/verifyset/np2-4-array-scalar" -o out/y.tar
inject "shards to a verification set" 25 lafs-shard -q --to-bin out/y.bin v.lafs
