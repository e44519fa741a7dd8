#!/bin/sh
# lafs-shard: directories, tars, lists, streams, indexes, and back.
set -eu
. "$(dirname "$0")/lib.sh"

jpeg() { mkdir -p "$(dirname "$1")"; printf '\377\330\377 %s' "$1" >"$1"; }
for f in ann/1 ann/2 ann/3 bob/1 bob/2 cy/1; do jpeg "d/$f.jpg"; done
jpeg "d/cy/J. K. Smith 2.jpeg"
keys() { sed -n '/^[0-9]/p' "$1" | cut -f4,5; }

expect_status 0 lafs-shard d -o x-%03d.tar --shard-samples 3
message '7 records read, 7 written'
printf '%s\t%s\n' ann/1 ann ann/2 ann ann/3 ann bob/1 bob bob/2 bob cy/1 cy 'cy/J_ K_ Smith 2' cy >want
keys x.lafs >got
same want got
check test "$(ls x-*.tar | wc -l)" = 3
check test "$(head -n 2 x.lafs)" = "lafs-index 1
pixels	0	none	rgb"
check test "$(tail -n 1 x.lafs)" = "end	3	7"
for s in x-00?.tar; do check grep -q "$(sha256sum "$s" | cut -c1-64)" x.lafs; done
check test "$(tar -tf x-002.tar | tr '\n' ' ')" = "__lafs__ cy/J_ K_ Smith 2.jpg cy/J_ K_ Smith 2.mp __end__ "
mkdir -p nothing/deep
expect_status 1 lafs-shard -o nothing.tar nothing
message "no photos in 'nothing/'"
check test ! -e nothing.lafs
touch nothing/deep/a.txt
expect_status 1 lafs-shard nothing >/dev/null
message "no photos in 'nothing/'"
ok "a directory to shards"

tar -cf t.tar -C d . && gzip -k t.tar && zstd -q t.tar
(cd d && find . -name '*.jp*g' | sort) >names
sed 's,^\./,d/,' names >list
lafs-shard -q d >d.stream
expect_status 0 lafs-shard t.tar -o t1.tar
keys t1.lafs | sort >got
same want got
for how in "t.tar.gz" "t.tar.zst" "x-000.tar x-001.tar x-002.tar" "x.lafs" "d.stream" "d/ann d/bob d/cy" "d.stream --names none"; do
    # shellcheck disable=SC2086
    expect_status 0 lafs-shard $how -o y.tar
    keys y.lafs | sort >got
    same want got
done
lafs-shard -q <t.tar | lafs-shard -q -o y.tar
keys y.lafs | sort >got
same want got
lafs-shard -q --list list -o y.tar
keys y.lafs | sed 's,^d/,,' | sort >got
same want got
ok "every kind of input gives the same"

lafs-shard -q d/ann -o y.tar
check test "$(keys y.lafs | head -n 1)" = "1	"
lafs-shard -q --names dir d/ann -o y.tar
check test "$(keys y.lafs | head -n 1)" = "1	"
lafs-shard -q --names dir d/ann/1.* -o y.tar
check test "$(keys y.lafs)" = "d/ann/1	ann"
lafs-shard -q --names none d -o y.tar
check test "$(keys y.lafs | head -n 1)" = "ann/1	"
tar -cf one.tar -C d ann
lafs-shard -q one.tar -o y.tar
check test "$(keys y.lafs | head -n 1)" = "ann/1	"
lafs-shard -q --names dir one.tar -o y.tar
check test "$(keys y.lafs | head -n 1)" = "ann/1	ann"
ok "names from directories, if there are several"

printf 'BZh91AY' >people.tar
expect_status 1 lafs-shard people.tar -o y.tar
message "it looks like a bzip2 archive: unpack it"
printf 'PK\003\004\024' >people.tar
expect_status 1 lafs-shard people.tar -o y.tar
message "it looks like a zip archive: unpack it (a checkpoint"
rm people.tar
ok "archives that are not read"

lafs-shard -q --to-dir e x.lafs
mv "e/cy/J_ K_ Smith 2.jpg" "e/cy/J. K. Smith 2.jpeg"
check diff -r d e
expect_status 1 lafs-shard --to-dir e x.lafs
message "'e' is there already"
mkdir f
printf 'bad' | cat - d.stream >cut.stream
head -c 300 d.stream >cut.stream
expect_status 3 lafs-shard --to-dir f cut.stream
check test -z "$(ls -A f)"
check test "$(echo f*)" = f
if command -v script >/dev/null; then # a terminal: there is no input, but the directory was begun
    script -qec "lafs-shard --to-dir fresh" /dev/null </dev/null >terminal || true
    has terminal "no input"
    check test "$(echo fresh*)" = 'fresh*'
fi
ok "back to a directory, whole or not at all"

lafs-shard -q x.lafs -o y-%03d.tar --shard-samples 3
lafs-shard -q x-000.tar x-001.tar x-002.tar -o z-%03d.tar --shard-samples 3
same y-000.tar z-000.tar
lafs-shard -q d >again.stream
same d.stream again.stream
lafs-shard -q d -o x-%03d.tar --shard-samples 4
check test "$(echo x-*.tar)" = "x-000.tar x-001.tar"
check test "$(lafs-shard x.lafs 2>&1 >/dev/null)" = "lafs-shard: 7 records read, 7 written"
ok "the same bytes again; left-over shards go"

lafs-shard -q -n 2 d.stream -o y.tar
check test "$(tail -n 1 y.lafs)" = "end	1	2"
lafs-shard -q d | lafs-shard -q -n 2 >n.stream
expect_status 0 lafs-shard n.stream -o y.tar
ok "-n gives an ordinary stream"

lafs-synth -q -n 4 --size 112 --seed 3 >s.stream
lafs-shard -q --to-dir crops s.stream
expect_status 0 lafs-shard --aligned crops -o a.tar
check test "$(sed -n 2p a.lafs)" = "pixels	112	given	rgb"
sed '2s/rgb/bgr/' a.lafs >b.lafs
expect_status 1 lafs-shard b.lafs a.lafs -o c.tar
message "channel order 'rgb', what came before has 'bgr'"
lafs-synth -q -n 4 --size 112 --seed 3 -o n.tar
expect_status 0 lafs-shard --aligned n.lafs -o c.tar
check test "$(sed -n 2p c.lafs)" = "pixels	112	given	rgb"
rm c.*
sed '2s/none/arcface5/' n.lafs >m.lafs
expect_status 2 lafs-shard --aligned m.lafs -o c.tar
message "'arcface5'"
expect_status 1 lafs-shard a.lafs d -o c.tar
message "aligner 'none'"
expect_status 1 lafs-shard a.lafs x.lafs -o c.tar
message "aligner 'none'"
check test ! -e c.lafs
lafs-synth -q -n 1 --size 120 --seed 4 | lafs-shard -q --to-dir crops/x
expect_status 1 lafs-shard --aligned crops -o c.tar --rejects r.jsonl
message '120 x 120'
has r.jsonl '120 x 120'
ok "aligned crops state their size"
