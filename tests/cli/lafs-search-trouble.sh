#!/bin/sh
# lafs-search: input that is cut off, of other sizes, without values, names or records.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

{ record ann/1 1 0 name ann; record bob/1 0 1 name bob; } >g.mp
record p 1 0 name ann >p.mp
lafs-synth -q --people 2 -n 2 --aligned --seed 3 -o faces.tar
lafs-embed -q --baseline lbp -o emb faces.lafs

expect_status 2 lafs-search g.mp
message "--probes is needed: who to look for"
expect_status 2 lafs-search -p - -
message "only one of probes and gallery can be standard input"
expect_status 2 lafs-search -p p.mp --threshold 0.5 g.mp
message "--fpir, --threshold, --bootstrap and --seed need --figures"
expect_status 2 lafs-search -p p.mp --bootstrap 1000 g.mp
expect_status 2 lafs-search -p p.mp --json -o out g.mp
message "--json is about what is printed: -o writes records"
expect_status 2 lafs-search -p p.mp --figures --fpir 0x1p-3 g.mp
message "--fpir: '0x1p-3' is no rate between 0 and 1"
expect_status 2 lafs-search -p p.mp --figures --fpir 0 g.mp
message "--fpir: '0' is no rate between 0 and 1"
expect_status 2 lafs-search -p p.mp -k 0 g.mp
expect_status 2 lafs-search -p p.mp -k 1001 g.mp
ok "misuse"

expect_status 1 lafs-search -p nowhere g.mp
message "cannot open 'nowhere': no such file or directory"
expect_status 1 lafs-search -p p.mp nowhere
message "cannot open 'nowhere': no such file or directory"
head -c $(($(wc -c <emb) / 2)) emb >cut
expect_status 3 lafs-search -p emb -o out cut
message "'cut' is cut off"
expect_status 3 lafs-search -p cut g.mp
message "'cut' is cut off"
: >empty
expect_status 3 lafs-search -p p.mp empty
lafs-search -q -p emb emb >all
expect_status 3 lafs-search -p emb - <cut >stdout
message "standard input is cut off"
check test ! -s stdout
check test ! -e out
ok "cut galleries and probes: nothing is printed"

record p 1 0 name '' >nobody.mp
expect_status 1 lafs-search -p nobody.mp --figures g.mp
message "'p' has no name: --figures needs everybody's"
{ record a/1 1 0 name a; record b/1 0 1 name b; record c/1 0 1 name c; } >few.mp
expect_status 0 lafs-search -p few.mp --exclude-own --figures --bootstrap 0 --json few.mp >json
has json '"others": 3, '
record a/1 1 0 name a >one.mp
expect_status 0 lafs-search -p one.mp --exclude-own --figures --bootstrap 0 --json one.mp >json
has json '"threshold": null, "met": 0}' # nothing was found for it: no alarm
expect_status 0 lafs-search -p one.mp --exclude-own one.mp >out
check [ ! -s out ]
ok "people without a name, and nobody to be found"

expect_status 1 lafs-search -p p.mp emb
message "the embedding has 3776 values, others have 2"
message "s3-000000/s3-000000_0001"
ok "another model's embeddings"

{ cat g.mp; record z/1 0 0; record z/2 nan 1; } >bad.mp
expect_status 1 lafs-search -p p.mp --rejects why bad.mp >stdout
message "skipping 'z/1': the embedding is all zeros"
message "skipping 'z/2': the embedding holds a value that is not a finite number"
message "2 of 4 records were bad, more than --max-bad 0.01 allows"
has why '"key": "z/2"'
check test ! -s stdout
expect_status 0 lafs-search -p p.mp --max-bad 0.6 bad.mp >stdout
check test "$(wc -l <stdout)" = 2
{ record z/1 0 0 name z; cat few.mp; } >bad-few.mp
expect_status 0 lafs-search -p bad-few.mp --max-bad 0.5 --figures --bootstrap 0 --json few.mp >json
has json '"bad": 1, '
expect_status 0 lafs-search -p bad-few.mp --max-bad 0.5 --figures --bootstrap 0 bad-few.mp >text
has text 'left out: 2 bad records'
expect_status 1 lafs-search -p bad.mp --rejects why g.mp
{ record p 1 0; record p 0 1; } >twice.mp
expect_status 1 lafs-search -p twice.mp g.mp
message "the probe 'p' is there twice"
lafs-shard -q -o plain.mp faces.lafs
expect_status 1 lafs-search -p p.mp plain.mp
message "no field 'embedding': lafs-embed adds it"
ok "embeddings that are none"

{ cat g.mp; record nobody/1 1 1; } >nameless.mp
expect_status 1 lafs-search --figures -p p.mp nameless.mp
message "'nobody/1' has no name: --figures needs everybody's"
expect_status 1 lafs-search --figures -p nameless.mp g.mp
message "'nobody/1' has no name: --figures needs everybody's"
expect_status 0 lafs-search -p p.mp nameless.mp >stdout
ok "people without names"

cp g.mp kept.mp
expect_status 2 lafs-search --rejects g.mp -p p.mp g.mp
message "the input 'g.mp' would be replaced by the output 'g.mp'"
expect_status 2 lafs-search -o p.mp -p p.mp g.mp
message "--probes and --output are one file: 'p.mp'"
same g.mp kept.mp
ok "inputs are not replaced"

if [ -c /dev/full ]; then
    expect_status 1 lafs-search -p p.mp g.mp >/dev/full
    message "cannot write standard output: no space left on device"
    ok "/dev/full"
else
    skip "/dev/full" "there is none"
fi
expect_status 1 sh -c '(ulimit -f 1 && exec lafs-search -p emb -k 4 -o big emb emb emb emb)'
check test ! -e big
ok "a full disk"
