#!/bin/sh
# lafs-shard: verification sets in and out, and the whole protocol through pipes.
set -eu
. "$(dirname "$0")/lib.sh"

corpus=$TOP/tests/fuzz/corpus
lafs-synth -q -p 12 -n 4 --aligned --pairs pairs.txt --fold-pairs 2 --seed 3 -o f.tar

expect_status 0 lafs-shard --to-bin set.bin --pairs pairs.txt f.lafs
message '48 photos read, 40 pairs written'
lafs-shard set.bin 2>stderr | lafs-embed -q --baseline pixel | lafs-verify --json --bootstrap 0 >bin.json
message "'set.bin': a verification set, 40 pairs, 20 of them of one person; taken as aligned crops with channels in the order rgb"
lafs-embed -q --baseline pixel f.lafs | lafs-verify --json --bootstrap 0 -p pairs.txt >pairs.json
# The protocol knows who the people are; a set only which pairs are of one.
sed 's/"people": null, "photos": [0-9]*/-/; s/"fnmr_low": [^,]*, "fnmr_high": [^,}]*/-/g' bin.json >got
sed 's/"people": [0-9]*, "photos": [0-9]*/-/; s/"fnmr_low": [^,]*, "fnmr_high": [^,}]*/-/g' pairs.json >want
has got '"folds": 10'
same want got
lafs-shard -q set.bin | lafs-embed -q --baseline pixel | lafs-verify --bootstrap 0 --plot roc.svg >text
has text '40 pairs (20 same, 20 different) of people unknown, 80 photos'
has roc.svg '>40 pairs<'
ok "the whole protocol: a set, a model, figures; the same as by its list of pairs"

# Lists with all same pairs first have folds of both kinds; so has the set.
lafs-shard -q set.bin -o s.tar
grep -v "^10	" pairs.txt >rest
{ echo 20; awk 'NF == 3' rest; awk 'NF == 4' rest; } >blocks.txt
expect_status 0 lafs-shard -q --to-bin blocks.bin --pairs blocks.txt f.lafs
lafs-shard -q blocks.bin | lafs-embed -q --baseline pixel | lafs-verify --json --bootstrap 0 >bin.json
lafs-embed -q --baseline pixel f.lafs | lafs-verify --json --bootstrap 0 -p blocks.txt >pairs.json
cut -d, -f1-3 bin.json >got
cut -d, -f1-3 pairs.json >want
has got '"accuracy_std"'
same want got
expect_status 0 lafs-shard -q --to-bin again.bin s.lafs
same set.bin again.bin
lafs-show --json s.lafs >json
has json '"key": "000000-a", '
has json '"pair": [39, false]'
ok "a round trip gives the same bytes"

# Half of a pair is missing: it counts as wrong, as with a list. Of pairs that are not there at all nothing is known.
lafs-shard -q s.lafs | lafs-embed -q --baseline pixel -n 19 -o e.mp
expect_status 0 lafs-verify --bootstrap 0 --json e.mp >half.json
message "missing: 'the other half of pair no. 9'"
expect_status 1 lafs-shard --to-bin never.bin -n 19 s.lafs
message "'the other half of pair no. 9' is in no input: a verification set cannot leave it out"
expect_status 1 lafs-verify e.mp e.mp
message "'000000-a' is there twice"
expect_status 1 lafs-shard --to-bin never.bin --pairs pairs.txt -n 40 f.lafs
message "is in no input"
expect_status 2 lafs-shard --to-bin ./pairs.txt --pairs pairs.txt f.lafs
message "--pairs and --to-bin are one file: './pairs.txt'"
expect_status 1 lafs-shard --to-bin never.bin f.lafs
message "no field 'pair', and no --pairs that names the pairs"
expect_status 2 lafs-shard --pairs pairs.txt f.lafs -o never.tar
# A record without a picture, before others and last: no other picture may take its place.
. "$TOP/tests/cli/records.inc"
photo=$(sed -n '/^[0-9]/{p;q}' f.lafs | cut -f4)
printf 'no/picture\t%s\t1\n' "$photo" >picture.txt
record no/picture 1 0 >bare.mp
for order in 'bare.mp f.lafs' 'f.lafs bare.mp'; do
    # shellcheck disable=SC2086
    expect_status 1 lafs-shard --to-bin never.bin --max-bad 1 --pairs picture.txt $order
    message "'no/picture': "
done
check test ! -e never.bin
ok "incomplete pairs"

for f in "$corpus"/verifyset/py* "$corpus"/verifyset/np*; do
    lafs-shard -q "$f" -o c.tar
    tar -xOf c.tar --wildcards '0*' | sha256sum >>sums
done
check test "$(sort -u sums | wc -l)" = 1
check test "$(wc -l <sums)" -ge 20
ok "sets of every Python and NumPy"

for bomb in "$corpus"/pickle/bomb-[024]; do
    cp "$bomb" bomb.bin
    expect_status 1 lafs-shard bomb.bin -o never.tar
    message "refused: it calls for posix.system"
done
head -c 5000 set.bin >cut.bin
expect_status 3 lafs-shard cut.bin -o never.tar
message "'cut.bin': the pickle is cut off after 5000 bytes"
cat set.bin again.bin >two.bin
expect_status 1 lafs-shard two.bin -o never.tar
message "bytes behind the pickle's end"
expect_status 1 lafs-shard "$corpus/pickle/namespace-2" -o never.tar
message "refused: it calls for argparse.Namespace"
expect_status 1 lafs-shard "$corpus/pickle/long-2" -o never.tar
message "no verification set: it is a long integer"
printf '\200\002](U\004GIF8U\004\377\330\377ae](\210e\206.' >gif.bin
expect_status 1 lafs-shard gif.bin -o never.tar --rejects r.jsonl
has r.jsonl '{"key": "000000-a", "reason": "neither a JPEG nor a PNG photo but a GIF picture: convert it first"}'
check test ! -e never.lafs
ok "trouble is named"

# Other tools read what we write. Python is not needed for anything else here.
if command -v python3 >/dev/null; then
    cat >read.py <<'END'
import pickle, sys
for more in {}, {"encoding": "bytes"}, {"encoding": "latin1"}:
    images, same = pickle.load(open("set.bin", "rb"), **more)
    assert len(images) == 80 and len(same) == 40 and sum(same) == 20, (len(images), same)
    assert all(type(i) is bytes and i[:3] == b"\xff\xd8\xff" for i in images) and all(type(s) is bool for s in same)
for protocol in range(6):
    pickle.dump((images, same), open("p%d.bin" % protocol, "wb"), protocol)
END
    check python3 read.py
    for p in 0 1 2 3 4 5; do
        expect_status 0 lafs-shard -q p$p.bin -o p.tar
        same p.tar s.tar
    done
    ok "Python reads it, and is read, in all its protocols"
else
    skip "Python reads it, and is read, in all its protocols" "there is no python3"
fi
