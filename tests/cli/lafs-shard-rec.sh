#!/bin/sh
# lafs-shard: MXNet's RecordIO in and out.
set -eu
. "$(dirname "$0")/lib.sh"

corpus=$TOP/tests/fuzz/corpus/recordio
lafs-synth -q -p 5 -n 3 --aligned --seed 3 -o f.tar
keys() { sed -n '/^[0-9]/p' "$1" | cut -f4,5; }
members() { tar -xOf "$1" --wildcards "*.$2" | sha256sum; }

expect_status 0 lafs-shard --to-rec train f.lafs
message '15 photos read, 15 written'
check test "$(cat property)" = 5,112,112
check test "$(wc -l <train.idx)" = 21
check test "$(tail -n 1 train.names)" = "4	s3-000004"
expect_status 0 lafs-shard train.rec -o r.tar
message "'train.rec': RecordIO, 15 images of 5 people, read with its .idx and with names; taken as aligned crops with channels"
message 'in the order rgb (lafs-shard --channels bgr: red and blue are swapped in them)'
check test "$(head -n 2 r.lafs | tail -n 1)" = "pixels	112	given	rgb"
{ for p in 0 1 2 3 4; do for i in 1 2 3; do printf '%08d\ts3-00000%d\n' $((3 * p + i)) $p; done; done; } >want
keys r.lafs >got
same want got
check test "$(members r.tar jpg)" = "$(members f.tar jpg)"
lafs-show r.lafs >shown
has shown 'recordio 1: layout ranges, channels rgb'
ok "people to records with identity ranges, and back"

mkdir again plain
expect_status 0 lafs-shard -q --to-rec again/train train.rec
for f in train.rec train.idx train.names property; do same $f again/$f; done
cp train.rec plain
lafs-shard -q train.rec >with.stream
expect_status 0 lafs-shard plain/train.rec -o p.tar
message "read without .idx;"
check test "$(keys p.lafs | cut -f1 | tr '\n' ' ')" = "$(keys r.lafs | cut -f1 | tr '\n' ' ')"
check test "$(tar -xOf p.tar 00000004.cls)" = 1
expect_status 0 lafs-shard -q -o s.tar - <train.rec
keys s.lafs >got
keys p.lafs >want
same want got
ok "a round trip gives the same bytes; what lies beside is not needed"

lafs-select -q --hash 3:0 -o none.lafs f.lafs
lafs-shard -q f.lafs none.lafs >mixed.stream # people come back
expect_status 1 lafs-shard --to-rec mixed mixed.stream
message "class "
message "came before, and others in between: identity ranges need each person's photos side by side (--rec-flat does without)"
check test ! -e mixed.rec
expect_status 0 lafs-shard -q --rec-flat --to-rec flat mixed.stream
check test "$(head -n 1 flat.idx)" = "0	0"
expect_status 0 lafs-shard flat.rec -o g.tar
message "'flat.rec': RecordIO, read with its .idx and with names"
check test "$(keys g.lafs | head -n 1)" = "00000000	s3-000000"
rm train.names
lafs-shard -q --rec-flat --to-rec again/flat f.lafs
check test -e again/flat.names
lafs-shard -q --rec-flat --to-rec again/flat train.rec # their names are not known
check test ! -e again/flat.names
ok "the flat layout"

expect_status 0 lafs-shard "$corpus/ranges" -o h.tar
check test "$(tar -tf h.tar | tr '\n' ' ')" = "__lafs__ 00000001.jpg 00000001.cls 00000001.mp 00000002.jpg 00000002.cls 00000002.mp __end__ "
lafs-show --json --full h.tar >json
has json '"labels": [0, 7, 1.5]'
expect_status 0 lafs-shard -q --to-rec h h.lafs
expect_status 0 lafs-shard -q -o i.tar h.rec
cmp h.tar i.tar >/dev/null || check test "$(tar -xOf h.tar 00000002.mp | sha256sum)" = "$(tar -xOf i.tar 00000002.mp | sha256sum)"
expect_status 0 lafs-shard -q -o i.tar "$corpus/parts"
check test "$(tar -xOf i.tar 00000000.jpg | tail -c 17 | od -An -tx1 | tr -d ' \n')" = 0a23d7ce616263640a23d7ce0a23d7ce7a
ok "several labels; records in parts"

# Red and blue: the pixels come out swapped, everywhere, and files stay as they are.
lafs-shard -q --to-rec s plain/train.rec
expect_status 0 lafs-shard --channels bgr plain/train.rec -o bgr.tar
message 'in the order bgr: red and blue will be swapped'
message ' of the first 15 faces are bluer than red: --channels bgr may be wrong for them'
lafs-show bgr.lafs >shown
has shown 'recordio 1: layout ranges, channels bgr'
has shown 'swapped'
check test "$(members bgr.tar jpg)" = "$(members f.tar jpg)"
lafs-embed -q --baseline pixel bgr.lafs | lafs-show --npy embedding - >bgr.npy
lafs-embed -q --baseline pixel r.lafs | lafs-show --npy embedding - >rgb.npy
check sh -c '! cmp -s rgb.npy bgr.npy'
expect_status 0 lafs-shard --to-rec back bgr.lafs
message 'red and blue are swapped in 15 of the pictures, as they came: whoever reads them must know'
same back.rec s.rec
expect_status 2 lafs-shard --channels purple r.tar
lafs-shard -q f.lafs | sed '1s/channels\xa3rgb/channels\xa3bgr/' >stated.stream
lafs-show stated.stream >shown
has shown ', bgr'
for to in '-o never.tar' '--to-rec never' '--to-dir never' '--to-bin never'; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-shard --channels rgb stated.stream $to
    message "says itself that its channels are 'bgr': not --channels rgb"
    check test ! -e never -a ! -e never.tar -a ! -e never.rec
done
ok "--channels bgr"

# A person whose records are all bad takes no class.
mkdir odd w
for k in 1 2; do tar -xOf f.tar --wildcards '*000000_0001.jpg' >w/$k.jpg; done
printf '\201\244name\243a\tb' >w/1.mp
printf '\201\244name\243cde' >w/2.mp
tar -cf odd.tar --sort=name -C w 1.jpg 1.mp 2.jpg 2.mp
expect_status 0 lafs-shard --to-rec odd/odd --max-bad 1 --rejects r.jsonl odd.tar
has r.jsonl '{"key": "1", "reason": "a name with a control character"}'
check test "$(cat odd/property)" = 1,112,112
check test "$(cat odd/odd.names)" = "0	cde"
ok "classes of those who are written"

for to in odd/ ""; do
    expect_status 2 lafs-shard --to-rec "$to" h.lafs
    message "--to-rec '$to': the name of the files is missing, as in '${to}train'"
done
check test -z "$(ls -A odd | grep '^\.')"
expect_status 1 lafs-shard odd
message "no photos in 'odd/', but 'odd/odd.rec': give that itself"
ok "a folder where the name of a file belongs"

# A folder has one property.
expect_status 0 lafs-shard --rec-flat --to-rec odd/other h.lafs
message "'odd/property' tells of 'other.rec' now, no longer of 'odd.rec': a folder has one"
message "1 record with several labels: a reader that looks for identity ranges, as InsightFace's does, takes those of the first"
ok "what other readers would misunderstand"

# PNG goes in and out as JPEG does. What is neither, or stands where no picture belongs, is named and counted.
png=$TOP/tests/fuzz/corpus/png
mkdir -p d/ann d/bob
cp "$png/rgba.png" d/ann/1.png
cp "$png/rgb16-adam7.png" d/ann/2.png
cp "$TOP/tests/fuzz/corpus/jpeg/rgb.jpg" d/bob/3.jpg
expect_status 0 lafs-shard -q --to-rec odd/png d
expect_status 0 lafs-shard -q -o png.tar odd/png.rec
check test "$(tar -tf png.tar | grep 'g$' | tr '\n' ' ')" = "00000001.png 00000002.png 00000003.jpg "
lafs-shard -q --to-dir d2 png.tar
check test "$(cat d2/*/* | cksum)" = "$(cat d/*/* | cksum)"
record() { # PAYLOAD, as printf takes it: a record of it, of class 0
    n=$((24 + $(printf "$1" | wc -c)))
    printf "\\n#\\327\\316\\$(printf %03o $n)\\0\\0\\0"
    head -c 24 /dev/zero
    printf "$1"
    head -c $(((4 - n % 4) % 4)) /dev/zero
}
for payload in '\223NUMPY an array' 'raw raw raw' 'RIFF....WEBPVP8 '; do record "$payload"; done >odd.rec
expect_status 1 lafs-shard odd.rec -o never.tar
message "skipping '00000000': neither a JPEG nor a PNG photo but a NumPy array: convert it first"
message "skipping '00000001': neither a JPEG nor a PNG photo"
message "skipping '00000002': neither a JPEG nor a PNG photo but a WebP picture: convert it first"
message '3 records read, 0 written, 3 bad'
cat train.rec train.rec >twice.rec
expect_status 1 lafs-shard twice.rec -o never.tar
message "skipping '00000022': a picture behind the 15 that record 0 tells of"
message '30 records read, 15 written, 15 bad'
cp train.rec fewer.rec
printf '\160' | dd of=fewer.rec bs=1 seek=34 conv=notrunc 2>dd # record 0: images end at 15, not 16
expect_status 1 lafs-shard fewer.rec -o never.tar
message "skipping '00000015': a picture behind the 14 that record 0 tells of"
message '15 records read, 14 written, 1 bad'
ok "payloads of other kinds"

# In any order; a large number costs no memory.
cp train.rec plain
printf '16777215\tnobody\n4\tdora\n\n0\tfirst\n1\tb\r\n0\tann' >plain/train.names
expect_status 0 sh -c '([ -n "${SAN:-}" ] || ulimit -v 120000; exec lafs-shard -q plain/train.rec -o n.tar)'
check test "$(keys n.lafs | cut -f2 | uniq | tr '\n' ' ')" = "ann b 2 3 dora "
rm plain/train.names
ok "names in any order"

for size in 96,96:96 96,112:112; do # of what is not square the first picture tells more
    echo "5,${size%:*}" >plain/property
    expect_status 0 lafs-shard -q plain/train.rec -o n.tar
    check [ "$(sed -n 2p n.lafs)" = "pixels	${size#*:}	given	rgb" ]
done
rm plain/property
ok "the size that property states"

# Trouble.
n=$(wc -c <train.rec)
head -c $((n - 60)) train.rec >plain/train.rec
expect_status 3 lafs-shard plain/train.rec -o never.tar
message "'plain/train.rec' is cut off inside a record, at byte $((n - 80))"
first=$(sed -n 11p train.idx | cut -f2)
head -c "$first" train.rec >plain/train.rec
expect_status 3 lafs-shard plain/train.rec -o never.tar
message "is cut off: it ends after 9 images, its record 0 says 15"
cp train.idx plain
expect_status 3 lafs-shard plain/train.rec -o never.tar
message "is cut off: it ends after 10 records, 'plain/train.idx' lists more"
cp train.rec plain
sed '5s/$/4/' train.idx >plain/train.idx
expect_status 1 lafs-shard plain/train.rec -o never.tar
message "'plain/train.idx' does not fit 'plain/train.rec': it says that record 4 begins at byte"
head -n 7 train.idx >plain/train.idx
expect_status 1 lafs-shard plain/train.rec -o never.tar
message "'plain/train.idx' ends before the record at byte"
printf 'nonsense\n' >plain/train.idx
expect_status 1 lafs-shard plain/train.rec -o never.tar
message "'plain/train.idx': line 1 is not 'KEY<tab>OFFSET'"
rm plain/train.idx
printf 'x' | dd of=plain/train.rec bs=1 seek="$first" conv=notrunc 2>/dev/null
expect_status 1 lafs-shard plain/train.rec -o never.tar
message "'plain/train.rec' is damaged at byte $first: no record begins there"
expect_status 1 lafs-shard "$corpus/label" -o never.tar
message "label 16777218 of record 0 is 2^24 or more"
expect_status 1 lafs-shard "$corpus/fraction" -o never.tar --rejects r.jsonl
has r.jsonl 'label 0.5 is no number of a class'
cp train.rec plain/train.rec
at=$(sed -n 3p train.idx | cut -f2)
printf 'GIF8' | dd of=plain/train.rec bs=1 seek=$((at + 32)) conv=notrunc 2>/dev/null
expect_status 0 lafs-shard plain/train.rec -o one.tar --rejects r.jsonl --max-bad 0.1
has r.jsonl '{"key": "00000002", "reason": "neither a JPEG nor a PNG photo but a GIF picture: convert it first"}'
check test "$(tail -n 1 one.lafs)" = "end	1	14"
printf '1\tx\n3\n' >plain/train.names
expect_status 1 lafs-shard plain/train.rec -o never.tar
message "'plain/train.names' line 2 is not 'CLASS<tab>NAME'"
expect_status 2 lafs-shard --to-rec train train.rec
message "would be replaced by"
mkdir nameless
lafs-shard -q --to-dir nameless/d f.lafs
find nameless/d -name '*.jpg' | sort >list
lafs-shard -q --list list --names none >nameless.stream
expect_status 1 lafs-shard --to-rec nobody nameless.stream
message "neither a class number (cls) nor a name"
expect_status 2 lafs-shard --to-rec x --to-dir y f.lafs
expect_status 2 lafs-shard --rec-flat f.lafs -o y.tar
expect_status 1 lafs-shard --to-rec missing/x f.lafs
check test ! -e never.lafs
check test ! -e nobody.rec
ok "trouble is named"
