#!/bin/sh
# lafs-shard: bad records, cut input, killed producers, full disks, misuse.
set -eu
. "$(dirname "$0")/lib.sh"
generate=${LAFS_BUILD:-$(dirname "$(readlink -f "$(command -v lafs-shard)")")}/tests/unit/stream

jpeg() { mkdir -p "$(dirname "$1")"; printf '\377\330\377 %s' "$1" >"$1"; }
for i in 1 2 3; do jpeg "d/ann/$i.jpg"; jpeg "d/bob/$i.jpg"; done
printf 'GIF89a' >d/bob/4.gif
printf 'RIFF\1\2\3\4WEBPVP8 ' >d/bob/5.jpg
: >d/bob/6.jpg
echo hello >d/notes.txt

expect_status 1 lafs-shard d -o x.tar --rejects r.jsonl
message "skipping 'bob/4': neither a JPEG nor a PNG photo but a GIF picture: convert it first"
message "skipping 'bob/5': neither a JPEG nor a PNG photo but a WebP picture: convert it first"
message "skipping 'bob/6': the photo is empty"
message '3 of 9 records were bad'
message "notes.txt"
check test "$(wc -l <r.jsonl)" = 3
has r.jsonl 'bob/5'
check test ! -e x.lafs
expect_status 0 lafs-shard d -o x.tar --max-bad 0.34 # of all nine, not of the six
check test -e x.lafs
lafs-shard -q --max-bad 0.34 x.tar d >twice.stream
lafs-show twice.stream >shown
has shown '6 bad ones dropped before'
expect_status 1 lafs-shard d -o x.tar
check test ! -e x.lafs
lafs-shard -q d >bad.stream || true
expect_status 3 lafs-shard bad.stream -o y.tar
message 'the producer of'
check test ! -e y.tar
jpeg "$(printf 'odd/a\tb.jpg')"
jpeg "$(printf 'odd/c\377.jpg')"
expect_status 1 lafs-shard odd -o odd.tar --rejects odd.jsonl
has odd.jsonl "byte 09 is a control character"
has odd.jsonl "byte ff is not UTF-8 text"
ok "bad photos are named, counted, and judged at the end"

rm d/bob/[456]* d/notes.txt
ln -s nowhere.jpg d/bob/7.jpg
ln -s nowhere.txt d/notes.txt
expect_status 1 lafs-shard d -o x.tar --rejects r.jsonl
message "skipping 'bob/7': cannot open 'd/bob/7.jpg': no such file or directory"
message "1 file that is no sample was passed over, the first is"
message '1 of 7 records were bad'
rm d/bob/7.jpg d/notes.txt
ok "links that lead nowhere are bad photos"

# A tar has links where a folder has names, and cannot be read backwards.
mkdir -p links/ann links/bob
lafs-synth -q --people 2 -n 1 --aligned | lafs-shard -q --to-dir made
cp made/s000000/*.jpg links/ann/1.jpg
cp made/s000001/*.jpg links/bob/2.jpg
ln links/ann/1.jpg links/bob/1.jpg
ln -s ../ann/1.jpg links/bob/3.jpg
tar --sort=name -cf links.tar links
expect_status 1 lafs-shard links.tar -o x.tar --rejects r.jsonl
message "skipping 'links/bob/1': 'links/bob/1.jpg' is a link: tar -h --hard-dereference stores the photo"
message '2 of 4 records were bad'
has r.jsonl links/bob/3
expect_status 0 lafs-select links.tar -o links.lafs
message "'links.tar': samples that no index can list: 2, the first: 'links/bob/1.jpg' is a link"
lafs-show --json links.lafs >names
has names '"name": "ann"'
expect_status 2 lafs-finetune --dry-run --size xs --stage 1 --batch 64 -o run links.tar
message "'links.tar': samples that no index can list: 2"
tar -h --hard-dereference -cf whole.tar links
check test "$(lafs-shard -q whole.tar | lafs-show --count)" = 4
ok "links in a tar are bad photos"

mkdir d/zoe
ln -s .. d/zoe/loop
expect_status 0 lafs-shard d -o loop.tar
message "1 file that is no sample was passed over, the first is 'd/zoe/loop/'"
check test "$(lafs-show --count loop.lafs)" = 6
ok "a link to a folder above adds nothing"

expect_status 0 lafs-shard d/bob/../ann/1.jpg ./d/../d/bob/2.jpg -o up.tar
lafs-show --json up.lafs >up.json
has up.json '"ann/1"'
has up.json '"d/bob/2"'
ok "a key begins behind the last '..' of a path"
for way in "lafs-show --count" "lafs-shard --to-dir first" "lafs-shard -o first.mp"; do expect_status 0 $way -n 1 d; done
rm -r d/zoe
ok "-n of a folder looks no further"

expect_status 1 lafs-shard d gone.jpg -o gone.tar
check test "$(cat stderr)" = "lafs-shard: cannot open 'gone.jpg': no such file or directory"
expect_status 1 lafs-shard d gone.jpg >stdout
check test ! -s stdout
check test ! -e gone.tar
ok "an input that is not there is told before others are read"

for name in x.lafs x.tar.gz x.tgz x.tar.zst; do
    expect_status 2 lafs-shard d -o $name
    message "a stream is no '$name': that is written as shards, with their index beside: name them NAME-%06d.tar"
    check test ! -e $name
done
for name in x.npy x.json x.jpg x.png x.rec; do
    expect_status 2 lafs-shard d -o $name
    message "a stream is no '$name': that is what lafs-sh"
    check test ! -e $name
done
ok "a stream does not get the name of something else"

lafs-shard -q d >good.stream
lafs-shard -q d -o good-%02d.tar --shard-samples 4
size=$(wc -c <good.stream)
for cut in 1 30 "$((size / 2))" "$((size - 1))"; do
    head -c "$cut" good.stream >cut.stream
    expect_status 3 lafs-shard cut.stream -o y.tar
    message 'cut off'
    expect_status 3 lafs-shard -o y.stream <cut.stream
    check test "$(echo y*)" = 'y*'
done
: >empty
expect_status 3 lafs-shard empty -o y.tar
message "'empty' is empty"
size=$(wc -c <good-00.tar)
for cut in 700 "$((size - 1024))" "$((size - 512))"; do
    head -c "$cut" good-00.tar >cut.tar
    expect_status 3 lafs-shard cut.tar -o y.tar
    message 'cut off'
    cp cut.tar copy-00.tar
done
tar -cf foreign.tar -C d .
head -c "$(($(tar -tvRf foreign.tar | sed -n 's/^block \([0-9]*\): \*\* Block of NULs.*/\1/p') * 512))" foreign.tar >cut.tar
expect_status 3 lafs-shard cut.tar -o y.tar
message 'no two zero blocks'
head -n 3 good.lafs >cut.lafs
expect_status 3 lafs-shard cut.lafs -o y.tar
message 'no closing line'
cat good.stream good.stream >twice.stream
expect_status 0 lafs-shard twice.stream -o y.stream
expect_status 1 lafs-shard twice.stream -o y.tar
message 'was there before'
check test ! -e y.lafs
mkdir apart
printf '\377\330\377 1' | tee apart/1.jpg >apart/2.jpg
echo 7 >apart/1.cls
tar -cf apart.tar apart/1.jpg apart/2.jpg apart/1.cls
expect_status 1 lafs-shard apart.tar -o y.tar
message "key 'apart/1' was there before"
tar --sort=name -cf apart.tar apart
expect_status 0 lafs-shard apart.tar -o apart.mp
check [ "$(lafs-show --count apart.mp)" = 2 ]
ok "cut input gives status 3 and no output"

reader_ends_by_signal() {
    kill -TERM $reader
    status=0
    wait $reader || status=$?
    check test $status = 143
}
producer_ends() {
    kill $producer 2>/dev/null || true
    wait $producer 2>/dev/null || true
}
mkfifo fifo
"$generate" --stream 100000000 >fifo 2>/dev/null &
producer=$!
lafs-shard -q fifo -o y-%03d.tar 2>err --shard-samples 2000 &
reader=$!
until [ -e y-001.tar ] || ! kill -0 $reader 2>/dev/null; do sleep 0.1; done
kill -9 $producer
status=0
wait $reader || status=$?
check test $status = 3
has err 'cut off'
check test "$(echo y-*.tar .y* y.lafs)" = 'y-*.tar .y* y.lafs'
wait $producer 2>/dev/null || true
"$generate" --stream 100000000 >fifo 2>/dev/null &
producer=$!
lafs-shard -q fifo -o y-%03d.tar 2>err --shard-samples 2000 &
reader=$!
until [ -e y-001.tar ] || ! kill -0 $reader 2>/dev/null; do sleep 0.1; done
reader_ends_by_signal
check test "$(echo .y* y.lafs)" = '.y* y.lafs'
producer_ends
rm -f y*
"$generate" --stream 100000000 >fifo 2>/dev/null &
producer=$!
lafs-shard -q fifo -o z.stream 2>err &
reader=$!
until [ -e .z.stream.tmp-$reader-0 ] || ! kill -0 $reader 2>/dev/null; do sleep 0.1; done
kill -9 $reader
wait $reader 2>/dev/null || true
check test "$(echo .z* z*)" = ".z.stream.tmp-$reader-0 z*"
producer_ends
lafs-synth -q --people 1 -n 1 --aligned -o one.stream
expect_status 0 lafs-shard -q -o z.stream one.stream
check test "$(echo .z* z*)" = ".z* z.stream" # what was left of it went
rm -f z.stream
(cat one.stream; exec sleep 60) >fifo &
producer=$!
lafs-shard -q --to-dir y fifo &
reader=$!
until find . -path './y.tmp-*' -name '*.jpg' | grep -q . || ! kill -0 $reader; do sleep 0.1; done
reader_ends_by_signal
check test "$(echo y*)" = 'y*'
producer_ends
ok "a killed producer, and a killed reader"

status=0
lafs-shard d >/dev/full 2>stderr || status=$?
check test $status = 1
message 'no space left'
"$generate" --stream 20000 >big.stream
(ulimit -f 600 && exec lafs-shard big.stream -o y.stream) 2>stderr && fail_ "a full disk went unseen"
message "cannot write 'y.stream': file too large"
(ulimit -f 600 && exec lafs-shard big.stream -o y-%d.tar) 2>stderr && fail_ "a full disk went unseen"
message 'file too large'
check test "$(echo y* .y*)" = 'y* .y*'
status=0
lafs-shard big.stream >/dev/full 2>stderr || status=$?
check test $status = 1
message 'no space left'
"$generate" --stream 40000 >big.stream
(trap '' PIPE && lafs-shard big.stream 2>stderr || echo $? >status) | head -c 100000 >/dev/null
has status 1
message 'cannot write standard output: broken pipe'
ok "full disks, and a reader that leaves"

expect_status 1 lafs-shard nowhere -o y.tar
message "cannot open 'nowhere': no such file"
expect_status 1 lafs-shard d -o nowhere/y.tar
message "nowhere/y.tar"
echo hello >text
expect_status 1 lafs-shard text -o y.tar
message 'looks like text'
cp good.stream junk && printf '\305' >>junk
expect_status 3 lafs-shard junk -o y.tar
cp good.stream junk && printf '\301' >>junk
expect_status 1 lafs-shard junk -o y.tar
message 'damaged'
expect_status 1 lafs-shard <good.lafs -o y.tar
message 'cannot come from standard input'
for misuse in "-n 12x" "--names all" "-o y%s.tar" "-o %d.tar" "-o y-%d-%d.tar" "--shard-samples 3" "--shard-bytes 0 -o y-%d.tar" \
    "--to-dir e -o y.tar" "--to-dir e --aligned" "--nonsense"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-shard $misuse d
done
rm good-01.tar
expect_status 1 lafs-shard good.lafs -o y.tar
message "cannot open 'good-01.tar'"
head -c 9000 foreign.tar >good-01.tar
expect_status 1 lafs-shard good.lafs -o y.tar
message 'it was changed or cut off'
check test "$(echo y*)" = 'y*'
ok "messages"

# No more files at once than ulimit -n gives, whatever the number of shards.
"$generate" --stream 40 | lafs-shard -q --shard-samples 1 -o "$PWD/many-%02d.tar"
(ulimit -n 14 && expect_status 0 lafs-shard -q many.lafs -o few.tar && [ "$status_" -eq 0 ]) || fail_ "forty shards: $(cat stderr)"
check [ "$(lafs-show --count few.tar)" -eq 40 ]
# Somebody else writes the same shards meanwhile: no index says that they are there.
"$generate" --stream 2000 >slow.stream
mkfifo slow
lafs-shard --shard-samples 100 -o "$PWD/both-%d.tar" slow 2>stderr &
writer=$!
exec 9>slow
head -c "$(($(wc -c <slow.stream) / 2))" slow.stream >&9
until [ -e both-1.tar ] || ! kill -0 $writer; do sleep 0.05; done
expect_status 0 lafs-shard -q --shard-samples 7 -n 30 -o "$PWD/both-%d.tar" slow.stream
check test -e both.lafs
tail -c "+$(($(wc -c <slow.stream) / 2 + 1))" slow.stream >&9
exec 9>&-
status=0
wait $writer || status=$?
check test $status -eq 1
message "was replaced before the index was written"
check test ! -e both.lafs
check [ "$(lafs-show --count both-0.tar)" -eq 7 ] # the other's stay
mkdir 50%d
expect_status 0 lafs-shard -q --shard-samples 20 -o 50%d/x-%d.tar many.lafs
check [ "$(echo 50%d/*)" = '50%d/x-0.tar 50%d/x-1.tar 50%d/x.lafs' ]
ok "more shards than open files; one output of two at once; a per cent sign in the name of a directory"

if [ -n "${SAN:-}" ]; then
    skip "a million records in little memory" "sanitizers want much"
else
    "$generate" --stream 1000000 | (ulimit -v 300000 && lafs-shard) 2>err | (ulimit -v 300000 && lafs-shard >m.stream) 2>stderr
    has err '1000000 records read, 1000000 written'
    message '1000000 records read, 1000000 written'
    ok "a million records in little memory"
fi
