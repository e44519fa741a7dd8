#!/bin/sh
# lafs-search --templates: IJB's 1:N protocol on a few templates.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

# Template 1: mean((2,0), (0,2)) + (0,1), as in lafs-verify; 2, 3: gallery of another list; 11 .. 14: probes.
{ record loose/1 2 0; record loose/2 0 2; record loose/3 0 1; record loose/4 1 0; record loose/5 -1 0
  record loose/6 1 2; record loose/7 1 0; record loose/8 -1 0.5; record loose/9 0 -1; } >e.mp
printf '1.jpg 1 1\n2.jpg 1 1\n3.jpg 1 2\n4.jpg 2 1\n5.jpg 3 1\n6.jpg 11 1\n7.jpg 12 1\n8.jpg 13 1\n9.jpg 14 1\n' >tid_mid.txt
printf 'TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,100,img/1.png\n1,100,img/2.png\n2,200,img/4.png\n' >G1.csv
printf 'TEMPLATE_ID,SUBJECT_ID\n3,300\n' >G2.csv
printf 'TEMPLATE_ID,SUBJECT_ID\n11,100\n12,200\n13,300\n14,400\n' >probe.csv
ijb="--templates tid_mid.txt --probe-list probe.csv --bootstrap 0 --no-face-score"

# shellcheck disable=SC2086
expect_status 0 lafs-search $ijb --gallery-list G1.csv --gallery-list G2.csv --fpir 0.4,0.7 --threshold 0.95 --json e.mp >json
# G1: 11 and 12 are found; 13's best is template 1: (-1 + 1) / .. = 0; 14's is 2: 0. 0 for both: none may pass at 0.4 and
# at 0.7. G2: only 13 is enrolled, and its cosine with 3, (-1, 0.5) . (-1, 0) = 0.894; others have -0.447, -1 and 0: one
# may pass at 0.4, two at 0.7.
has json '"gallery": "G1.csv", "entries": 2, "people": 2, "probes": 4, "enrolled": 2, "others": 2, '
has json '"gallery": "G2.csv", "entries": 1, "people": 1, "probes": 4, "enrolled": 1, "others": 3, '
has json '{"bootstrap": 0, "bad": 0, "rank1": 1, "rank5": 1, "rank10": 1, "tpir": {"0.4": 1, "0.7": 1}, "applied": {"threshold": 0.95, "tpir": 0.5, "fpir": 0}, '
# shellcheck disable=SC2086
expect_status 0 lafs-search $ijb --gallery-list G1.csv --gallery-list G2.csv --threshold 0.95 e.mp >text
has text "gallery 'G1.csv': 2 entries of 2 people, 4 probes (2 of enrolled people, 2 of others)"
has text "mean of the 2 galleries, each with its own threshold, and at the given one"
check test "$(grep -c '^TPIR at cosine 0.9500' text)" = 3
ok "two galleries and their mean"

# With norms of 1 template 1 is (0.5, 1.5), whose cosine with 11 is 0.99 instead of 1.
# shellcheck disable=SC2086
expect_status 0 lafs-search $ijb --gallery-list G1.csv --threshold 0.995 --json e.mp >json
has json '"threshold": 0.995, "tpir": 1, "tpir_low": null, "tpir_high": null, "fpir": 0}'
# shellcheck disable=SC2086
expect_status 0 lafs-search $ijb --gallery-list G1.csv --threshold 0.995 --unit-norm --json e.mp >json
has json '"threshold": 0.995, "tpir": 0.5, '
# Image 3 weighted with 0: template 1 is (1, 1).
for i in 1 2 3 4 5 6 7 8 9; do echo "$i.jpg 1 2 3 4 5 6 7 8 9 10 $([ $i = 3 ] && echo 0.0 || echo 1e0)"; done >scores.txt
expect_status 0 lafs-search --templates tid_mid.txt --probe-list probe.csv --gallery-list G1.csv --face-scores scores.txt \
    --bootstrap 0 --threshold 0.995 --json e.mp >json
has json '"threshold": 0.995, "tpir": 0.5, '
ok "switches of lafs-verify"

# Template 12 loses its image, 2 as well: not found.
{ record loose/1 2 0; record loose/2 0 2; record loose/3 0 1; record loose/6 1 2; record loose/8 -1 0.5; record loose/9 0 -1; } >few.mp
# shellcheck disable=SC2086
expect_status 0 lafs-search $ijb --gallery-list G1.csv --json few.mp >json
message "missing: '4'"
has json '"enrolled": 2, "others": 2, "missing_entries": 1, "missing_probes": 1, "rank1": 0.5'
ok "templates without images"

printf 'TEMPLATE_ID,SUBJECT_ID\n1,100\n1,200\n' >two.csv
# shellcheck disable=SC2086
expect_status 1 lafs-search $ijb --gallery-list two.csv e.mp
message "'two.csv' lines 2 and 3: template 1 is of two subjects"
printf 'TEMPLATE_ID,SUBJECT_ID\n77,100\n' >none.csv
# shellcheck disable=SC2086
expect_status 1 lafs-search $ijb --gallery-list none.csv e.mp
message "'none.csv': no template of the gallery is in the input"
expect_status 2 lafs-search --templates tid_mid.txt --gallery-list G1.csv e.mp
message "--templates, --gallery-list and --probe-list need each other"
# shellcheck disable=SC2086
expect_status 2 lafs-search $ijb --gallery-list G1.csv -k 3 e.mp
# shellcheck disable=SC2086
expect_status 2 lafs-search $ijb --gallery-list G1.csv --per-person e.mp
ok "files and options that do not fit together"
