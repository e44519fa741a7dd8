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
ok "ranks and rates"
