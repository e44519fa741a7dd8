#!/bin/sh
# lafs-verify --templates: aggregation by media, weights, norms, missing images.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

# Template 7: media 1 = images 1 and 2, media 2 = image 3. 8, 9: one image each.
{ record loose/1 2 0; record loose/2 0 2; record loose/3 0 1; record loose/4 0 1; record loose/5 1 0; } >e.mp
printf '1.jpg 7 1\n2.jpg 7 1\n3.jpg 7 2\n4.jpg 8 1\n5.jpg 9 1\n' >tid_mid.txt
printf '7 8 1\n7 9 0\n8 9 0\n' >pairs.txt
# 7 = mean((2,0), (0,2)) + (0,1) = (1,2): cosine with 8 = 2/sqrt(5), with 9 = 1/sqrt(5).

expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --far 0.5 --threshold 0.9 --json e.mp >json
message "no record has the field 'score': images are not weighted"
has json '"protocol": "templates", "accuracy": 0.6666666666666666, '
has json '"rates": [{"far": 0.5, "tar": 1, "met": 1, '
has json '"people": 2, "photos": 5, "templates": 3, "bootstrap": 0, "bad": 0, "missing": 0, "missing_pairs": 0'
# (0.5 is as far from 0 as from 1, the corners of this ROC: the larger one counts.)
expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --threshold 0.89 e.mp >text
grep -E '^accuracy +100.00 %$' text >/dev/null || fail_ "$(cat text)"
has text '3 pairs (1 same, 2 different) of 2 people, 5 photos in 3 templates'
ok "mean over media, sum over template"

printf '7 8 1\n9 7 0\n9 8 0\n' >turned.txt
for p in pairs turned; do
    expect_status 0 lafs-verify --templates tid_mid.txt -p $p.txt --threshold 0.89 --bootstrap 200 --json e.mp >$p.json
done
same pairs.json turned.json
ok "the order of a pair"

# Scores 0.986 (different), 0.707 (same), 0 (different): one of two different pairs is nearest to 0.4, and above it.
{ record loose/1 1 0; record loose/2 3 0.5; record loose/3 1 1; record loose/4 0 1; } >near.mp
printf '%s.jpg %s 1\n' 1 1 2 2 3 3 4 4 >near_mid.txt
printf '1 2 0\n1 3 1\n1 4 0\n' >near_pairs.txt
expect_status 0 lafs-verify --templates near_mid.txt -p near_pairs.txt --far 0.4 --json near.mp >json
has json '"tar": 1, "met": 0.5, '
has json '"fnmr": 0, "fnmr_low": null'
ok "FNMR is 1 - TAR, at the same corner"

# With norms of 1: mean((1,0), (0,1)) + (0,1) = (0.5, 1.5): cosine with 8 = 0.949.
expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --threshold 0.94 --unit-norm e.mp >text
grep -E '^accuracy +100.00 %$' text >/dev/null || fail_ "$(cat text)"
# Image 3 weighted with 0: 7 = (1,1).
for i in 1 2 3 4 5; do echo "$i.jpg 1 2 3 4 5 6 7 8 9 10 $([ $i = 3 ] && echo 0.0 || echo 1e0)"; done >scores.txt
expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --threshold 0.7072 --face-scores scores.txt e.mp >text
grep -E '^  FNMR +100.00 %$' text >/dev/null || fail_ "$(cat text)"
expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --threshold 0.7070 --face-scores scores.txt e.mp >text
grep -E '^  FMR +50.00 %$' text >/dev/null || fail_ "$(cat text)"
ok "norms and detector scores"

{ record loose/1 2 0; record loose/2 0 2; record loose/3 0 1; record loose/5 1 0; } >missing.mp
expect_status 0 lafs-verify --templates tid_mid.txt -p pairs.txt --threshold 0.5 --no-face-score --json missing.mp >json
message "missing: '4'"
has json '"accuracy": 0.3333333333333333, '
has json '"missing": 1, "missing_pairs": 2, "missing_photos": ["4"], "without_missing": {"accuracy": null, '
ok "a template without images"

printf '7 8 1\n7 10 0\n' >unknown.txt
expect_status 1 lafs-verify --templates tid_mid.txt -p unknown.txt e.mp
message "'unknown.txt' line 2: template 10 has no images"
sed '$d' scores.txt >few.txt
expect_status 1 lafs-verify --templates tid_mid.txt -p pairs.txt --face-scores few.txt e.mp
message "1 image without a detector score (--no-face-score does without)"
for i in 1 2 3 4 5; do record loose/$i 1 0 score $([ $i = 4 ] && echo =inf || echo =1); done >huge.mp
expect_status 1 lafs-verify --templates tid_mid.txt -p pairs.txt huge.mp
message "'4': the detector score is not finite"
ok "files that do not fit together"
