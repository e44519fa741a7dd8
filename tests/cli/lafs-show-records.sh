#!/bin/sh
# lafs-show on records: JSON, counts, arrays, summaries, trouble.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

{ record x/A_1 1 0.5 name Ann; record x/A_2 2 -1 name Ann; record x/B_1 0 3 name 'B "b"'; } >e.mp

expect_status 0 lafs-show --json e.mp >json
cat >want <<'EOF'
{"key": "x/A_1", "embedding": {"array": "f4", "shape": [2], "min": 0.5, "max": 1, "mean": 0.75}, "name": "Ann"}
{"key": "x/A_2", "embedding": {"array": "f4", "shape": [2], "min": -1, "max": 2, "mean": 0.5}, "name": "Ann"}
{"key": "x/B_1", "embedding": {"array": "f4", "shape": [2], "min": 0, "max": 3, "mean": 1.5}, "name": "B \"b\""}
EOF
same json want
expect_status 0 lafs-show --json --full -n 1 <e.mp >json
echo '{"key": "x/A_1", "embedding": [1, 0.5], "name": "Ann"}' >want
same json want
ok "JSON lines; embeddings only when asked for"

expect_status 0 lafs-show --count e.mp >count
echo 3 >want
same count want
expect_status 0 lafs-show --count e.mp e.mp -o count
echo 6 >want
same count want
ok "counts"

expect_status 0 lafs-show e.mp >text
cat >want <<'EOF'
e.mp: records
records     3
people      2
fields
  key        text                e.g. x/A_1
  embedding  f4 (2)
  name       text                e.g. Ann
EOF
same text want
ok "a summary"

expect_status 0 lafs-show --npy embedding e.mp -o e.npy
printf 'x/A_1\nx/A_2\nx/B_1\n' >want
same e.keys want
has e.npy "'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
check [ "$(wc -c <e.npy)" = $((256 + 24)) ]
tail -c 24 e.npy >values
{ float_ 1; float_ 0.5; float_ 2; float_ -1; float_ 0; float_ 3; } >want
same values want
expect_status 0 lafs-show --npy embedding --keys k <e.mp >piped.npy
same piped.npy e.npy
same k e.keys
ok "arrays, to a file and to a pipe"

{ cat e.mp; printf '\202\243key\243x/C\243sex\241f'; } >mixed.mp
expect_status 0 lafs-show --npy embedding mixed.mp -o m.npy
message "1 records have no field 'embedding'"
expect_status 1 lafs-show --npy name e.mp -o no.npy
message "field 'name' is neither array nor number: --json shows it"
expect_status 1 lafs-show --npy nothing e.mp -o no.npy
message "no record has the field 'nothing'"
check [ ! -e no.npy ]
expect_status 0 lafs-show mixed.mp >text
grep -E '^  name +text +in 3 +e.g. Ann$' text >/dev/null || fail_ "$(cat text)"
ok "fields that not all records have"

# U+009B alone is to a terminal what ESC [ is.
printf '\202\243key\246x/\302\2332J\244name\245\033[2J\n' >controls.mp
expect_status 0 lafs-show controls.mp >text
has text "e.g. x/??2J"
has text "e.g. ?[2J?"
expect_status 0 lafs-show --json controls.mp >text
has text '"x/\u009b2J"'
ok "controls in names do not reach the terminal"

head -c 100 e.mp >cut.mp
for o in --count --json "--npy embedding" ""; do
    # shellcheck disable=SC2086
    expect_status 3 lafs-show $o cut.mp >out
    message "cut off"
done
expect_status 3 lafs-show --npy embedding cut.mp -o no.npy
check [ ! -e no.npy ]
expect_status 3 lafs-show --count </dev/null
ok "cut input"

expect_status 1 lafs-show nothere
message "cannot open 'nothere': no such file or directory"
expect_status 2 lafs-show --json --count e.mp
message "one of --json, --count, --check, --npy, --contact-sheet, --curves at a time"
expect_status 2 lafs-show --full e.mp
expect_status 2 lafs-show --curves
expect_status 2 lafs-show --check
message "--check wants indexes"
expect_status 2 lafs-show --columns 0 e.mp
expect_status 2 lafs-show --columns 3 e.mp
message "--columns and --cell go with --contact-sheet, --mosaic and --views"
if [ -c /dev/full ]; then
    expect_status 1 lafs-show --json e.mp >/dev/full
    message "cannot write standard output"
fi
expect_status 1 lafs-show --count e.mp -o no/such/dir
cp e.mp mine.mp
expect_status 2 lafs-show --json mine.mp -o ./mine.mp
expect_status 2 lafs-show --npy embedding --keys mine.mp mine.mp
same mine.mp e.mp
expect_status 2 lafs-show --npy embedding --keys one -o one e.mp
message "--keys and --output are one file: 'one'"
cp e.mp mine.keys
expect_status 2 lafs-show --npy embedding -o mine.npy mine.keys
message "the input 'mine.keys' would be replaced by the output 'mine.keys'"
same mine.keys e.mp
check test ! -e mine.npy
expect_status 2 lafs-show --npy embedding -o mine.npy --rejects mine.keys e.mp
message "--keys and --rejects are one file: 'mine.keys'"
same mine.keys e.mp
ok "misuse, and output that cannot be written, or would be written over what is read"

mkdir 'a%b' && lafs-synth -q --people 3 -n 2 --size 40 -o a%b/s.tar
lafs-shard -q --shard-samples 2 -o 'a%b/x-%02d.tar' 'a%b/s.lafs'
expect_status 0 lafs-show --check 'a%b/x.lafs' 'a%b/s.lafs' >text
printf 'a%%b/x.lafs: 3 shards as written\na%%b/s.lafs: 1 shard as written\n' >want
same text want
printf X | dd of='a%b/x-00.tar' bs=1 seek=2000 conv=notrunc 2>/dev/null
printf X >>'a%b/x-01.tar'
rm 'a%b/x-02.tar'
expect_status 0 lafs-show --check 'a%b/s.lafs' >/dev/null
expect_status 1 lafs-show --check 'a%b/x.lafs' 'a%b/s.lafs' >text
message "'a%b/x-00.tar' is damaged, or not what was indexed: it has another SHA-256"
message "'a%b/x-01.tar' has "
message "cannot open 'a%b/x-02.tar': no such file or directory"
message "'a%b/x.lafs': 3 of 3 shards are not what the index says"
echo 'a%b/s.lafs: 1 shard as written' >want
same text want
expect_status 2 lafs-show --check 'a%b/s.tar'
message "'a%b/s.tar' is no index: "
expect_status 1 lafs-show --check nothere
message "cannot open 'nothere': no such file or directory"
head -n 4 'a%b/s.lafs' >'a%b/cut.lafs'
expect_status 3 lafs-show --check 'a%b/cut.lafs'
ok "shards that are not what their index says"

mkdir t && printf x >t/k.jpg && tar -cf f.tar -C t k.jpg
lafs-select -q -o f.lafs f.tar
expect_status 0 lafs-show --check f.lafs >text
echo 'f.lafs: 1 shard as written; 1 without a digest, of which only the size is known' >want
same text want
ok "shards of others have no digest"

printf 'PK\003\004\024\000\000\010' >m.pth
expect_status 1 lafs-show m.pth
message "a zip archive: unpack it (a checkpoint of PyTorch: see lafs-convert --list)"
printf '\010\010\022\004lafs:\377\376' >m.onnx
expect_status 1 lafs-show m.onnx
message "an ONNX graph: see lafs-convert --list"
ok "models of other kinds are named"

# A map that says it has 2^32-1 members, nesting without end, a string longer than the file.
printf '\337\377\377\377\377' >bomb1.mp
head -c 100000 /dev/zero | tr '\0' '\221' >bomb2.mp
printf '\201\243key\333\177\377\377\377x' >bomb3.mp
for f in bomb1.mp bomb2.mp bomb3.mp; do
    status=0
    ([ -n "${SAN:-}" ] || ulimit -v 2000000 2>/dev/null || true; lafs-show --json $f >/dev/null 2>stderr) || status=$?
    check [ $status -eq 1 ] || check [ $status -eq 3 ]
done
ok "hostile input"
