#!/bin/sh
# lafs-shard --add: fields from JSON lines.
set -eu
. "$(dirname "$0")/lib.sh"
lafs-synth -q --people 2 -n 1 --size 64 | lafs-shard -q --to-dir photos
cat >add.jsonl <<'END'
{"key": "s000001/s000001_0001", "points": [[1, 2], [3, 4], [5, 6.5], [7, 8], [9, 9.5]], "score": 0.25, "note": "seen"}

{"key": "nobody/nobody_0001", "age": 7}
{"key": "s000000/s000000_0001", "box": [1, 2, 3, 4], "age": 31}
END
expect_status 0 lafs-shard --no-progress --add add.jsonl -o some.tar photos
message "1 line of 'add.jsonl' names a key that no record has, the first 'nobody/nobody_0001'"
expect_status 0 lafs-shard --no-progress --add add.jsonl -n 1 -o /dev/null photos
hasnt stderr "add.jsonl" # who stops early cannot tell
expect_status 1 lafs-shard --add add.jsonl -o no.tar nowhere
hasnt stderr "add.jsonl"
lafs-show --json some.lafs >shown
has shown '"box": [1, 2, 3, 4], "age": 31'
has shown '"points": [[1, 2], [3, 4], [5, 6.5], [7, 8], [9, 9.5]], "score": 0.25, "note": "seen"'
expect_status 0 lafs-detect -q --align-only -n 2 --max-bad 1 -o crops.tar some.lafs
ok "fields are put into the records that their keys name"

echo '{"points": [[1, 2]]}' >bad.jsonl
expect_status 1 lafs-shard -q --add bad.jsonl -o no.tar photos
message "'bad.jsonl', line 1: no object with a string \"key\""
echo '{"key": "a", "x": [1}' >bad.jsonl
expect_status 1 lafs-shard -q --add bad.jsonl -o no.tar photos
message "'bad.jsonl', line 1"
printf '{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n' >bad.jsonl
expect_status 1 lafs-shard -q --add bad.jsonl -o no.tar photos
message "the key 'a' stands in lines 1 and 3"
check [ ! -e no.tar ]
for value in '[[1, 2], [3]]' '[[1, 2], 3]' '[1, "2"]' '{"a": 1}' null; do
    echo "{\"key\": \"s000000/s000000_0001\", \"points\": $value}" >bad.jsonl
    expect_status 1 lafs-shard -q --max-bad 0 --rejects rejects --add bad.jsonl -o no.mp photos
    has rejects "'bad.jsonl', line 1, field 'points'"
done
for name in "" __x "$(printf '%0129d' 0)"; do
    echo "{\"key\": \"s000000/s000000_0001\", \"$name\": 1}" >bad.jsonl
    expect_status 1 lafs-shard --max-bad 0 --add bad.jsonl -o no.mp photos
    message "skipping 's000000/s000000_0001': 'bad.jsonl', line 1, field '$name': no field can be called so"
done
{
    printf '{"key": "s000000/s000000_0001"'
    for i in $(seq 260); do printf ', "f%d": 1' "$i"; done
    echo '}'
} >bad.jsonl
expect_status 1 lafs-shard --max-bad 0 --add bad.jsonl -o no.mp photos
message "skipping 's000000/s000000_0001': 'bad.jsonl', line 1: record of too many fields"
expect_status 2 lafs-shard --add add.jsonl --to-dir out some.lafs
message "--add adds to records"
ok "broken files and values are told by line and field"
