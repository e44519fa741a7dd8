#!/bin/sh
# lafs-verify: missing photos, keys that are not clear, embeddings that are no embeddings, cut input, misuse.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

printf '2\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t2\tB\t2\n' >pairs.txt
{ record A/A_0001 1 0; record A/A_0002 1 0; record B/B_0001 0 1; } >three.mp

expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --bootstrap 0 --json three.mp >json
message "lafs-verify: missing: 'B/B_0002'"
has json '"accuracy": 0.5, '
has json '"missing": 1, "missing_pairs": 2, "missing_photos": ["B/B_0002"], "without_missing": {"accuracy": 1, '
expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --bootstrap 0 three.mp >text
has text '1 photo is missing: 2 pairs are counted as wrong'
cp text text.missing
grep -E '^accuracy +50.00 % +100.00 %$' text >/dev/null || fail_ "both columns: $(cat text)"
ok "a missing photo is named, counted, and wrong"

for picture in --plot --det; do
    expect_status 2 lafs-verify -p pairs.txt $picture roc.png three.mp
    message "'roc.png' is a name of a PNG file: SVG is what is written"
    check test ! -e roc.png
done
ok "a picture under the name of another kind"

record C/C_0001-f0 1 0 >other.mp
expect_status 1 lafs-verify -p pairs.txt other.mp >text
message "none of the 4 photos of 'pairs.txt' is in the input: it wants keys like 'A/A_0001', the input has 'C/C_0001-f0' (lafs-detect --best keeps the photo's key)"
same text /dev/null
ok "no photo at all"

{ cat three.mp; record set2/A/A_0001 1 0; } >twice.mp
expect_status 1 lafs-verify -p pairs.txt twice.mp
message "'A/A_0001' may be 'A/A_0001' or 'set2/A/A_0001'"
ok "an ambiguous key"

{ record A/A_0001 nan 0; record A/A_0002 1 0; record B/B_0001 0 1; record B/B_0002 0 0; } >bad.mp
expect_status 1 lafs-verify -p pairs.txt --rejects why bad.mp >text
message "skipping 'A/A_0001': the embedding holds a value that is not a finite number"
message "skipping 'B/B_0002': the embedding is all zeros"
message "2 of 4 records were bad, more than --max-bad 0.01 allows"
has why '"key": "B/B_0002"'
same text /dev/null
ok "NaN and zero count under --max-bad"

{ record B/B_0002 0 0; cat three.mp; } >zero.mp
expect_status 0 lafs-verify -p pairs.txt --max-bad 0.25 --threshold 0.5 --bootstrap 0 --json zero.mp >json
message "skipping 'B/B_0002': the embedding is all zeros"
message "missing: 'B/B_0002'"
has json '"bad": 1, "missing": 1, "missing_pairs": 2, "missing_photos": ["B/B_0002"], "without_missing": {"accuracy": 1, '
expect_status 0 lafs-verify -p pairs.txt --max-bad 0.25 --threshold 0.5 --bootstrap 0 zero.mp >zero
has zero 'left out: 1 bad record'
grep -v '^left out' zero >rest
same rest text.missing
record A/A_0001 0 0 >only.mp
expect_status 1 lafs-verify -p pairs.txt --max-bad 1 only.mp >text
message "none of the 4 photos of 'pairs.txt' has an embedding that can be compared"
ok "the photo of a bad record is a missing one"

{ record a 1 0 pair =0+; record b nan 0 pair =0+; record c 0 0 pair =1-; record d 0 nan pair =1-
  record e 1 0 pair =2+; record f 1 0 pair =2+; record g 1 0 pair =3-; record h 0 1 pair =3-; } >field.mp
expect_status 0 lafs-verify --max-bad 1 --threshold 0.5 --bootstrap 0 --json field.mp >json
has json '"pairs": 4, '
has json '"bad": 3, "missing": 3, "missing_pairs": 2, "missing_photos": ["b", "c", "d"], '
ok "a pair whose records are bad is counted where the records make the pairs"

{ cat three.mp; record B/B_0002 0 1; } >whole.mp
head -c $(($(wc -c <whole.mp) - 3)) whole.mp >cut.mp
expect_status 3 lafs-verify -p pairs.txt cut.mp >text
same text /dev/null
expect_status 3 lafs-verify -p pairs.txt </dev/null
ok "cut input"

printf '2\nA 1 2\nB 1 2\nA 1 B 1\n' >short.txt
expect_status 1 lafs-verify -p short.txt whole.mp
message "'short.txt' ends after line 4: 1 more different pairs were announced"
expect_status 1 lafs-verify -p nothere.txt whole.mp
message "cannot open 'nothere.txt': no such file or directory"
printf 'A/A_0001 A/A_0002 1\nB/B_0001 B/B_0002 1\n' >onekind.txt
expect_status 1 lafs-verify -p onekind.txt whole.mp
message "2 genuine and 0 impostor pairs: both kinds are needed"
ok "protocol files that make no sense"

expect_status 1 lafs-verify whole.mp
message "no field 'pair', and no --pairs that names the pairs"
expect_status 2 lafs-verify --fit pairs.txt whole.mp
message "--templates and --fit need --pairs"
expect_status 2 lafs-verify --json --scores emb
message "--scores needs --pairs"
expect_status 2 lafs-verify --json --scores --pairs p --templates t emb
message "--scores does not go with --templates"
expect_status 2 lafs-verify -p pairs.txt --threshold 0.5 --fit pairs.txt whole.mp
expect_status 2 lafs-verify -p pairs.txt --threshold 1.5 whole.mp
expect_status 2 lafs-verify -p pairs.txt --far 0.1,x whole.mp
message "--far: 'x' is no rate between 0 and 1"
expect_status 2 lafs-verify -p pairs.txt --far 1 whole.mp
expect_status 2 lafs-verify -p pairs.txt --unit-norm whole.mp
expect_status 2 lafs-verify -p pairs.txt --bootstrap 10x whole.mp
ok "misuse"

if [ -c /dev/full ]; then
    expect_status 1 lafs-verify -p pairs.txt whole.mp >/dev/full
    message "cannot write standard output"
fi
expect_status 1 lafs-verify -p pairs.txt --plot no/such/dir.svg whole.mp >/dev/null
message "no/such/dir.svg"
cp whole.mp kept.mp
cp pairs.txt kept.txt
for out in --plot --det --rejects; do
    expect_status 2 lafs-verify -p pairs.txt $out whole.mp whole.mp
    message "the input 'whole.mp' would be replaced by the output 'whole.mp'"
done
expect_status 2 lafs-verify -p pairs.txt --plot pairs.txt whole.mp
message "--pairs and --plot are one file: 'pairs.txt'"
expect_status 2 lafs-verify -p pairs.txt --rejects ./pairs.txt whole.mp
message "--pairs and --rejects are one file: './pairs.txt'"
same whole.mp kept.mp
same pairs.txt kept.txt
ok "output that cannot be written, or may not"

expect_status 2 env LAFS_CPU=sse9 lafs-verify -p pairs.txt --threshold 0.5 --bootstrap 0 whole.mp
message "LAFS_CPU: there is no 'sse9'; this machine has plain"
LAFS_CPU=plain expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --bootstrap 0 --json whole.mp >plain
expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --bootstrap 0 --json whole.mp >best
same plain best
ok "LAFS_CPU"
