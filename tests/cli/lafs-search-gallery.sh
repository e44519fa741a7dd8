#!/bin/sh
# lafs-search: matches as text, JSON and records; ties, own entries, streams and shards; figures.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

{ record ann/1 1 0 name ann; record bob/1 0 1 name bob; record cy/1 1 1 name cy; record ann/2 2 0 name ann; record x/1 0 -1; } >g.mp
{ record p/ann 1 0 name ann; record p/bob 1 2 name bob; } >p.mp

expect_status 0 lafs-search -p p.mp g.mp >all
printf 'p/ann\t%d\t%s\t%s\t%s\n' 1 1.000000 ann/1 ann 2 1.000000 ann/2 ann 3 0.707107 cy/1 cy 4 0.000000 bob/1 bob \
    5 0.000000 x/1 '' >want
printf 'p/bob\t%d\t%s\t%s\t%s\n' 1 0.948683 cy/1 cy 2 0.894427 bob/1 bob 3 0.447214 ann/1 ann 4 0.447214 ann/2 ann \
    5 -0.894427 x/1 '' >>want
same all want
ok "all matches, equal ones in the order of the gallery"

expect_status 0 lafs-search -p p.mp -k 2 --min-score 0.9 --json g.mp >json
cat >want <<'END'
{"probe": "p/ann", "name": "ann", "matches": [{"key": "ann/1", "name": "ann", "cosine": 1}, {"key": "ann/2", "name": "ann", "cosine": 1}]}
{"probe": "p/bob", "name": "bob", "matches": [{"key": "cy/1", "name": "cy", "cosine": 0.9486832618713379}]}
END
same json want
ok "the best two of at least 0.9, as JSON"

expect_status 0 lafs-search -p g.mp --exclude-own -k 1 g.mp >own
cut -f 1,4 own >got
printf 'ann/1\tann/2\nbob/1\tcy/1\ncy/1\tann/1\nann/2\tann/1\nx/1\tann/1\n' >want
same got want
ok "without the probe itself"

# ann has two photos, equal ones to p/ann; nobody's photos count on their own.
{ cat g.mp; record y/1 0 -1; record cy/2 1 0.5 name cy; } >g2.mp
expect_status 0 lafs-search -p p.mp --per-person -k 2 g2.mp >two
printf '%s\t%d\t%s\t%s\t%s\n' p/ann 1 1.000000 ann/1 ann p/ann 2 0.894427 cy/2 cy \
    p/bob 1 0.948683 cy/1 cy p/bob 2 0.894427 bob/1 bob >want
same two want
expect_status 0 lafs-search -p p.mp --per-person --json g2.mp >json
has json '"key": "bob/1", "name": "bob", "cosine": 0}, {"key": "x/1", "cosine": 0}, {"key": "y/1", "cosine": 0}]}'
has json '"cosine": 0.4472135901451111}, {"key": "x/1", "cosine": -0.89'
expect_status 0 lafs-search -p p.mp --per-person --min-score 0.9 g2.mp >high
printf '%s\t1\t%s\t%s\t%s\n' p/ann 1.000000 ann/1 ann p/bob 0.948683 cy/1 cy >want
same high want
expect_status 0 lafs-search -p g2.mp --per-person --exclude-own -k 1 g2.mp >own
cut -f 1,4 own >got
printf 'ann/1\tann/2\nbob/1\tcy/1\ncy/1\tcy/2\nann/2\tann/1\nx/1\ty/1\ny/1\tx/1\ncy/2\tcy/1\n' >want
same got want
expect_status 0 lafs-search -p p.mp --per-person -k 2 -o m.mp g2.mp
expect_status 0 lafs-show --json m.mp >shown
has shown '"matches": [{"key": "ann/1", "name": "ann", "cosine": 1'
check test "$(grep -c 'ann/2' shown)" = 0
ok "each person once"

expect_status 0 lafs-search -p p.mp -k 1 -o m.mp g.mp >stdout
check test ! -s stdout
expect_status 0 lafs-show --json m.mp >shown
has shown '"key": "p/bob"'
has shown '"matches": [{"key": "cy/1", "name": "cy", "cosine": 0.948683'
expect_status 0 lafs-search -p p.mp -k 1 -o - g.mp >m2.mp
same m.mp m2.mp
expect_status 2 lafs-search -p p.mp -o g.mp g.mp
ok "records; never over the gallery"

# A gallery of 3,000 faces in shards, as one stream, through a pipe, on one thread and on three: one result.
lafs-synth -q --people 6 -n 4 --aligned --seed 5 -o faces-%06d.tar
lafs-embed -q --baseline lbp -o e-%06d.tar faces.lafs
lafs-shard -q -o e.mp e.lafs
i=0
while [ $i -lt 125 ]; do echo e.mp; i=$((i + 1)); done >many
# shellcheck disable=SC2046
cat $(cat many) >big.mp
expect_status 0 lafs-search -p e.mp --min-score 1 -k 1 e.mp >same
check test "$(awk -F '\t' '$1 == $4' same | wc -l)" = 24
check test "$(lafs-search -p e.mp --min-score 1 --exclude-own e.mp | wc -l)" = 0
ok "--min-score 1: what is equal, however it is rounded"
lafs-search -p e.lafs -k 200 -j 1 big.mp >one
lafs-search -p e.mp -k 200 -j 3 - <big.mp >three
same one three
# shellcheck disable=SC2046
lafs-search -p e-000000.tar -k 200 $(cat many) >many.out
same one many.out
check test "$(wc -l <one)" = 4800
# Every face is there 125 times, in the order of the gallery.
check test "$(awk -F '\t' '$2 <= 125 && $1 != $4' one | wc -l)" = 0
expect_status 0 lafs-search -v -p e.mp -k 5 big.mp >few
awk -F '\t' '$2 <= 5' one >want
same few want
message "of 72000 cosines were computed in full"
ok "streams, shards and pipes give the same on any number of threads"

# Every face 375 times in two blocks of the program is what it is once, for each person: the first of the best.
lafs-search -p e.mp -k 24 e.mp | awk -F '\t' -v OFS='\t' '!seen[$1, $5]++ && ++n[$1] <= 4 { $2 = n[$1]; print }' >want
check test "$(wc -l <want)" = 96
# shellcheck disable=SC2046
cat $(cat many many) >>big.mp
for jobs in 1 3; do
    lafs-search -p e.mp --per-person -k 4 -j $jobs big.mp >got
    same got want
done
ok "each person once, in a gallery of several blocks"

# Six people, four photos each; the gallery holds one photo of some of them.
lafs-select -q --hash 3:0,1 -o in.lafs e.lafs
lafs-select -q --shots 1 -o g.lafs in.lafs
in=$(lafs-show --count g.lafs)
expect_status 0 lafs-search -p e.lafs --figures --exclude-own --threshold 0.8 --json g.lafs >json
has json "{\"bootstrap\": 1000, \"bad\": 0, \"entries\": $in, \"people\": $in, \"probes\": 24, \"enrolled\": $((in * 3)), \"others\": $((24 - in * 3)), "
expect_status 0 lafs-search -p e.lafs --figures --exclude-own --threshold 0.8 g.lafs >text
message "the intervals come from 6 people: of fewer than 20 they are too narrow"
grep -E '^rank 1 +[0-9.]+ % \[' text >/dev/null || fail_ "$(cat text)"
has text "  finer than $((24 - in * 3)) probes of others can tell"
lafs-search -p e.lafs --figures --exclude-own --seed 1 -j 1 g.lafs >a
lafs-search -p e.lafs --figures --exclude-own --seed 1 -j 3 -k 1 --min-score 0.9 g.lafs >b
same a b
ok "figures do not depend on threads, nor on what would be printed"

# By hand: ann at rank 1, bob at rank 2, dan is nobody's: his best score is that of ann/1.
{ record p/ann 2 1 name ann; record p/bob 1 2 name bob; record p/dan 1 0.5 name dan; } >p3.mp
{ record ann/1 1 0 name ann; record cy/1 1 1 name cy; record bob/1 0 1 name bob; } >g3.mp
expect_status 0 lafs-search -p p3.mp --figures --bootstrap 0 --fpir 0.5 --threshold 0.94 --json g3.mp >json
has json '"entries": 3, "people": 3, "probes": 3, "enrolled": 2, "others": 1, '
has json '"rank1": 0, "rank1_low": null, "rank1_high": null, "rank5": 1, '
has json '"rates": [{"fpir": 0.5, "tpir": 0, "tpir_low": null, "tpir_high": null, "threshold": 0.948683'
has json '"met": 0}], "threshold": 0.94, "tpir": 0, '
has json '"fpir": 1}'
# Five photos of cy take the first five ranks, and people come only sixth; of the people they are the second.
{ cat g3.mp; record cy/2 2 2 name cy; record cy/3 3 3 name cy; record cy/4 0.5 0.5 name cy; record cy/5 0.01 0.01 name cy; } >g4.mp
expect_status 0 lafs-search -p p3.mp --figures --bootstrap 0 --json g4.mp >json
has json '"rank5": 0, '
expect_status 0 lafs-search -p p3.mp --figures --per-person --bootstrap 0 --json g4.mp >json
has json '"rank1": 0, "rank1_low": null, "rank1_high": null, "rank5": 1, '
ok "ranks and rates"
