#!/bin/sh
# lafs-select: each choice, relative paths, reports, misuse.
set -eu
. "$(dirname "$0")/lib.sh"

for p in ann bob cy dan eve fay; do
    n=$(((n = ${n:-0} + 1)))
    mkdir -p "d/$p"
    for i in $(seq "$n"); do printf '\377\330\377 %s %s' $p "$i" >"d/$p/$i.jpg"; done
done
lafs-shard -q d -o x-%03d.tar --shard-samples 8
names() { sed -n '/^[0-9]/p' "$1" | cut -f5 | sort -u | tr '\n' ' '; }
count() { tail -n 1 "$1" | cut -f3; }

expect_status 0 lafs-select x.lafs -o y.lafs
same x.lafs y.lafs
expect_status 0 lafs-select --min-images 3 --shots 2 -o y.lafs x.lafs --dropped y.jsonl
message '21 images of 6 people read'
message 'left out 3 of people with fewer than --min-images'
message 'left out 10 beyond --shots'
check test "$(names y.lafs)" = "cy dan eve fay "
check test "$(count y.lafs)" = 8
check test "$(wc -l <y.jsonl)" = 13
has y.jsonl '{"key": "ann/1", "name": "ann", "reason": "of people with fewer than --min-images"}'
expect_status 0 lafs-select --identities 50% --seed 4 -o half.lafs x.lafs
expect_status 0 lafs-select --identities 1 --seed 4 -o one.lafs x.lafs
check test "$(names half.lafs | wc -w)" = 3
for p in $(names one.lafs); do names half.lafs >got; has got "$p"; done
ok "images, identities, shots"

printf '2\nbob\t2\nnobody\t1\n' >people
expect_status 0 lafs-select -v --people people -o y.lafs x.lafs
message "1 of 2 people of 'people' are in the index"
check test "$(names y.lafs)" = "bob "
expect_status 0 lafs-select --not-people people -o y.lafs x.lafs
check test "$(names y.lafs)" = "ann cy dan eve fay "
expect_status 0 lafs-select --hash 2:0 -o a.lafs x.lafs
expect_status 0 lafs-select --not-hash 2:0 -o b.lafs x.lafs
check test "$(($(count a.lafs) + $(count b.lafs)))" = 21
expect_status 0 lafs-select --hash 4:1,3 -o c.lafs x.lafs
same b.lafs c.lafs
expect_status 0 lafs-select a.lafs b.lafs -o c.lafs
check test "$(count c.lafs)" = 21
expect_status 0 lafs-select a.lafs x.lafs -o c.lafs
check test "$(count c.lafs)" = 21
expect_status 1 lafs-select --people people --not-people people -o none.lafs x.lafs
message "nothing is left for 'none.lafs'"
check test ! -e none.lafs
printf 'bob/2\nann/1\r\nnobody/1\n' >keys
expect_status 0 lafs-select --keys keys -o y.lafs x.lafs
message "1 of 3 keys of 'keys' are in no index"
message 'left out 19 not on the list of --keys'
sed -n '/^[0-9]/p' y.lafs | cut -f4 >got
printf 'ann/1\nbob/2\n' >want
same got want
ok "people, keys, hashes, unions"

cp x.lafs was.lafs
cp x-000.tar was.tar
expect_status 2 lafs-select --shots 1 -o x.lafs x.lafs
message "the input 'x.lafs' would be replaced by the output 'x.lafs'"
expect_status 2 lafs-select --shots 1 -o x-000.tar y.lafs x.lafs
message "would be replaced by the output 'x-000.tar'"
expect_status 2 lafs-select --split x=2,z=1 -o %s.lafs y.lafs x.lafs
message "the input 'x.lafs' would be replaced by the output 'x.lafs'"
expect_status 2 lafs-select --not-near y.lafs -o y.lafs x.lafs
message "--not-near and --output are one file: 'y.lafs'"
expect_status 2 lafs-select --dropped x.lafs -o z.lafs x.lafs
message "the input 'x.lafs' would be replaced by the output 'x.lafs'"
same x.lafs was.lafs
same x-000.tar was.tar
ok "no input is replaced"

expect_status 0 lafs-select --split train=2,test=1 --seed 5 -o part-%s.lafs x.lafs
check test "$(($(count part-train.lafs) + $(count part-test.lafs)))" = 21
check test -z "$({ names part-train.lafs; names part-test.lafs; } | tr ' ' '\n' | sort | uniq -d | tr -d '\n')"
lafs-select -q --not-people people --split train=2,test=1 --seed 5 -o less-%s.lafs x.lafs
for p in $(names less-train.lafs); do names part-train.lafs >got; has got "$p"; done
mkdir -p deep/er other
expect_status 0 lafs-select --shots 1 -o deep/er/y.lafs x.lafs
has deep/er/y.lafs '../../x-000.tar'
expect_status 0 lafs-select -o other/y.lafs deep/er/y.lafs
has other/y.lafs '	../x-000.tar'
expect_status 0 lafs-shard deep/er/y.lafs -o z.tar
check test "$(tail -n 1 z.lafs)" = "end	1	6"
tar -cf foreign.tar -C d .
expect_status 0 lafs-select --shots 1 -o y.lafs foreign.tar
has y.lafs "foreign.tar	$(wc -c <foreign.tar)	-"
expect_status 0 lafs-shard y.lafs -o z.tar
check test "$(count z.lafs)" = 6
gzip foreign.tar
expect_status 1 lafs-select --shots 1 -o y.lafs foreign.tar.gz
message "unpack it with: gzip -dk 'foreign.tar.gz'"
ok "splits by person; paths relative to the index"

expect_status 0 lafs-synth --people 1 -n 1 --size 112 -o one.tar
message "1 photo of 1 person written"
expect_status 0 lafs-select -o only.lafs one.lafs
message "'only.lafs': 1 image of 1 person"
expect_status 1 lafs-select --pairs none.txt one.lafs
message "no pairs: two people with names are needed, not 1"
expect_status 0 lafs-shard --to-dir one one.lafs
message "1 photo read, 1 written"
ok "one is not many"

lafs-synth -q --people 6 -n 4 --size 112 --seed 3 -o s.tar
lafs-select -q --split train=1,test=1 --seed 2 -o s-%s.lafs s.lafs
tests=$(count s-test.lafs)
expect_status 0 lafs-select --not-near s-test.lafs -o clean.lafs s.lafs --dropped near.jsonl -j 1
message 'near-duplicates'
check test "$(($(count clean.lafs) + $(wc -l <near.jsonl)))" = 24
check test "$(grep -c '"correlation": 1}' near.jsonl)" -ge "$tests"
expect_status 0 lafs-select --not-near s-test.lafs -o clean4.lafs s.lafs -j 4
same clean.lafs clean4.lafs
expect_status 0 lafs-select --not-near clean.lafs --min 0.999 -o rest.lafs s-test.lafs
check test "$(count rest.lafs)" = "$tests"
expect_status 1 lafs-select --not-near x.lafs -o y.lafs s.lafs
message 'cannot be read, more than --max-bad'
expect_status 1 lafs-select --not-near s.lafs -o y.lafs x.lafs
message '21 of 21 samples cannot be read, more than --max-bad 0.01 allows'
expect_status 2 lafs-select --not-near ./s.lafs -o y.lafs s.lafs
message "--not-near './s.lafs' is the input itself: nothing of it would be left (--unique keeps one of those"
ok "near-duplicates of a test set"

# A photo that one name has twice, and one that two names have.
lafs-shard -q --to-dir u s.lafs
cp u/s3-000001/s3-000001_0001.jpg u/s3-000001/again.jpg
cp u/s3-000002/s3-000002_0001.jpg u/s3-000004/other.jpg
lafs-shard -q -o u.tar u
for jobs in 1 4; do
    expect_status 0 lafs-select --unique --dropped twice$jobs.jsonl -j $jobs -o unique$jobs.lafs u.lafs
    message "left out 2 near-duplicates of others that stay"
    message "1 image named otherwise than the near-duplicate that stays: one of the names may be wrong (--dropped FILE"
done
same unique1.lafs unique4.lafs
same twice1.jsonl twice4.jsonl
check test "$(count unique1.lafs)" = 24
twin() { # KEY NAME NEAR NAME
    echo "{\"key\": \"$1\", \"name\": \"$2\", \"reason\": \"near-duplicates of others that stay\"," \
        "\"near\": \"$3\", \"near_name\": \"$4\", \"correlation\": 1}"
}
twin s3-000001/s3-000001_0001 s3-000001 s3-000001/again s3-000001 >want
twin s3-000004/other s3-000004 s3-000002/s3-000002_0001 s3-000002 >>want
same twice1.jsonl want
expect_status 0 lafs-select --unique --min 0.05 --dropped many.jsonl -o few.lafs u.lafs
check [ "$(count few.lafs)" -lt 24 ]
check [ "$(($(count few.lafs) + $(wc -l <many.jsonl)))" = 26 ]
expect_status 0 lafs-select --unique --not-near few.lafs --min 0.99 -o rest.lafs u.lafs
check [ "$(count rest.lafs)" = "$((24 - $(count few.lafs)))" ]
ok "photos that are there twice"

# Of these two are alike by 0.91: near enough to be left out with a test set, too far to be one photo.
lafs-synth -q --people 12 -n 6 --size 112 --seed 5 -o alike.tar
lafs-select -q --unique --min 0.9 --dropped pair.jsonl -o apart.lafs alike.lafs
sed -n 's/.*"near": "\(.*\)", "near_name.*"correlation": 0.9[0-6].*/\1/p' pair.jsonl >pair.key
check [ "$(wc -l <pair.key)" = 1 ]
expect_status 0 lafs-select --unique -o all.lafs alike.lafs
check [ "$(count all.lafs)" = 72 ]
lafs-select -q --keys pair.key -o pair.lafs alike.lafs
expect_status 0 lafs-select --not-near pair.lafs -o others.lafs alike.lafs
check [ "$(count others.lafs)" = 70 ]
ok "what is near by default"

# Which of two stays is a matter of their keys, not of what is read first.
for part in 0 1; do lafs-select -q --hash "2:$part" -o u$part.lafs u.lafs; done
expect_status 0 lafs-select -q --unique --min 0.6 --dropped d01 -o u01.lafs u0.lafs u1.lafs
expect_status 0 lafs-select -q --unique --min 0.6 --dropped d10 -o u10.lafs u1.lafs u0.lafs
check [ "$(wc -l <d01)" -gt 2 ]
sort d01 >d01.sorted
sort d10 >d10.sorted
same d01.sorted d10.sorted
ok "the one that stays"

lafs-detect -q --align-only -o graded.tar s.lafs
lafs-show --json graded.lafs | sed 's/.*"key": "\([^"]*\)".*"quality": \([0-9.]*\).*/\2 \1/' | sort -k1,1g >ranks
limit=$(sed -n '9s/ .*//p' ranks)
expect_status 0 lafs-select --min-quality "$limit" --dropped poor.jsonl -j 1 -o good.lafs graded.lafs
message "of a quality below --min-quality"
awk -v q="$limit" '$1 < q { print $2 }' ranks | sort >want
sed 's/.*"key": "\([^"]*\)".*/\1/' poor.jsonl | sort >have
check [ -s want ]
same want have
expect_status 0 lafs-select --min-quality "$limit" -j 4 -o good4.lafs graded.lafs
same good.lafs good4.lafs
expect_status 1 lafs-select --min-quality 0.1 -o y.lafs s.lafs
message "no sample has the field 'quality'"
ok "those of a quality"

for p in $(seq 10 39); do # thirty people, two photos each
    mkdir -p "m/p $p"
    for i in 1 2; do printf '\377\330\377 %s %s' "$p" "$i" >"m/p $p/$i.jpg"; done
done
lafs-shard -q m -o m.tar
expect_status 0 lafs-select --pairs pairs m.lafs
message "'pairs': 30 same and 30 different pairs of 30 people, nobody in two folds"
check test "$(sort -u pairs | wc -l)" = 60
check test "$(awk -F '[\t/]' '($1 == $3) != $5' pairs | wc -l)" = 0
expect_status 0 lafs-select --pairs again -o few.lafs --identities 19 --fold-pairs 1 m.lafs
message "'again': 10 same and 10 different pairs of 19 people; people are in several folds"
check test "$(count few.lafs)" = 38
expect_status 0 lafs-select -q --pairs another --seed 2 m.lafs
check test "$(cat another)" != "$(cat pairs)"
lafs-synth -q --people 24 -n 3 --aligned -o n.tar
lafs-select -q --pairs pairs n.lafs
expect_status 0 sh -c 'lafs-embed -q --baseline pixel n.lafs | lafs-verify --pairs pairs >figures'
has figures '(60 same, 60 different) of 24 people'
expect_status 1 lafs-select --pairs none --shots 1 m.lafs
message "'none': no pairs: of none of 30 people there are two photos"
check test ! -e none
cp n.lafs kept
expect_status 2 lafs-select --pairs n.lafs n.lafs
message "the input 'n.lafs' would be replaced by the output 'n.lafs'"
same n.lafs kept
expect_status 2 lafs-select --pairs one -o one n.lafs
message "--pairs and --output are one file: 'one'"
expect_status 2 lafs-select --dropped both -o both n.lafs
check test ! -e both
echo nobody >list
expect_status 2 lafs-select --not-people list --dropped list -o y.lafs n.lafs
message "--not-people and --dropped are one file: 'list'"
check test "$(cat list)" = nobody
expect_status 2 lafs-select --pairs pairs --split a=1,b=1 -o y-%s.lafs m.lafs
ok "pairs"

for misuse in "--min-quality 1.5" "--identities 0" "--identities 10x" "--identities 101%" "--hash 10:10 " "--hash x" "--shots 0" "--min 2" \
    "--split a=1,b=" "--split a=1" "-o y-%s.lafs"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-select -o y.lafs $misuse x.lafs
done
expect_status 2 lafs-select --fold-pairs 9 -o y.lafs x.lafs
message "--fold-pairs needs --pairs"
expect_status 2 lafs-select --min 0.9 -o y.lafs x.lafs
message "--min needs --not-near or --unique"
expect_status 2 lafs-select x.lafs
message '-o FILE is missing'
expect_status 2 lafs-select --split a=1,b= -o y-%s.lafs x.lafs
expect_status 2 lafs-select --split a=1,b=1,a=1 -o y-%s.lafs x.lafs
message "two parts are called 'a'"
check test ! -e y-a.lafs
expect_status 1 lafs-select -o y.lafs nowhere.lafs
message "no such file"
expect_status 1 lafs-select -o nowhere/y.lafs x.lafs
message "cannot write 'nowhere/y.lafs': 'nowhere': no such file or directory"
lafs-shard -q d >x.stream
expect_status 1 lafs-select -o y.lafs x.stream
message 'make shards of it'
expect_status 1 lafs-select -o y.lafs d
message "'d' is a directory, no index: lafs-detect makes one of its photos"
head -n 5 x.lafs >cut.lafs
expect_status 3 lafs-select -o y.lafs cut.lafs
lafs-shard -q d/ann d/bob -o dup.tar
expect_status 1 lafs-select -o y.lafs x.lafs dup.lafs
message "key 'ann/1' is in "
sed '2s/none/given/' s.lafs >given.lafs
expect_status 1 lafs-select -o y.lafs x.lafs given.lafs
message "indexes of different pixels"
expect_status 1 lafs-select -o y.lafs --people nowhere x.lafs
printf 'a\tb\n' >bad
expect_status 1 lafs-select -o y.lafs --people bad x.lafs
message "'bad': line 1"
expect_status 1 lafs-select -o /dev/full x.lafs
message 'no space left'
ok "messages"
