#!/bin/sh
# lafs-verify on pairs whose figures can be worked out by hand.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

# Four people, two photos each. Cosines: same 1, 1, 0.651, 0; different 1, 0, 0, -1.
{
    record x/A/A_0001 1 0 side left; record x/A/A_0002 2 0 side left
    record x/B/B_0001 0 1 side left; record x/B/B_0002 0 3 side left
    record x/C/C_0001 1 2 side right; record x/C/C_0002 2 0.5 side right
    record x/D/D_0001 1 0 side right; record x/D/D_0002 0 -1 side right
    record x/E/E_0001 nan 0
} >e.mp
printf '4\nA\t1\t2\nB\t1\t2\nC\t1\t2\nD\t1\t2\nA\t1\tD\t1\nA\t1\tB\t1\nB\t1\tD\t1\nB\t1\tD\t2\n' >pairs.txt

expect_status 0 lafs-verify --pairs pairs.txt --threshold 0.5 --far 0.25,0.5 --json e.mp >json
has json '"protocol": "threshold", "accuracy": 0.75, '
has json '"auc": 0.75, '
has json '"threshold": 0.5, "fmr": 0.25, "fnmr": 0.25, "pairs": 8, "same": 4, "different": 4, '
has json '"tar": {"0.25": 0.75, "0.5": 0.75}'
has json '"people": 4, "photos": 8, "bootstrap": 1000, "bad": 0, "missing": 0, "missing_pairs": 0, "missing_photos": []}'
ok "figures at a given threshold"

# Two people make a pair, whichever stands first: the intervals are the same.
for p in A B C D; do echo "$p/${p}_0001 $p/${p}_0002 1"; done >one.txt
cp one.txt other.txt
printf '%s 0\n' "A/A_0001 D/D_0001" "A/A_0001 B/B_0001" "B/B_0001 D/D_0001" "B/B_0001 D/D_0002" >>one.txt
printf '%s 0\n' "D/D_0001 A/A_0001" "B/B_0001 A/A_0001" "D/D_0001 B/B_0001" "D/D_0002 B/B_0001" >>other.txt
for f in one other; do expect_status 0 lafs-verify -p $f.txt --threshold 0.5 --json e.mp >$f.json; done
same one.json other.json
hasnt one.json '"accuracy_low": null'
ok "the order of a pair"

expect_status 0 lafs-verify -p pairs.txt --json <e.mp >json
has json '"protocol": "folds"'
has json '"folds": 4'
has json '"val"'
expect_status 0 lafs-verify -p pairs.txt <e.mp >text
cat >want <<'EOF'
8 pairs (4 same, 4 different) of 4 people, 8 photos

accuracy                   62.50 %
  +- over 4 folds          21.65 %
threshold, mean           0.7362
EOF
head -n 5 text >got
echo 'lafs-verify: the intervals come from 4 people: of fewer than 20 they are too narrow' >few
same stderr few # and no more: similarities differ
# Squared distances by fold: 0 0 | 0 2 | 0.698 2 | 2 4; thresholds 0.7 0.7 0.01 0.7; right 1, 2, 1 and 1 of 2.
same got want
has text 'finer than 4 different pairs can tell'
ok "folds"

# A model that has all but collapsed: what it knows shows in the AUC, but in no threshold of a fold.
{ record a1 1 0; record a2 1 0; record b1 1 0.01; record b2 1 0.01; } >alike.mp
printf 'a1 a2 1\na1 b1 0\nb1 b2 1\na2 b2 0\na1 a2 1\na2 b1 0\n' >flat.txt
expect_status 0 lafs-verify -p flat.txt --json alike.mp >json
has json '"auc": 1, '
has json '"people": 2, "photos": 4, ' # keys without directories: linked by pairs of the same person
message "similarities are nearly alike (1.0000, deviation 0.0000), and thresholds of folds 0.005 apart: accuracy says little"
expect_status 0 lafs-verify -p flat.txt --threshold 0.5 --bootstrap 0 alike.mp >text
same stderr /dev/null
ok "similarities that are nearly alike"

printf 'A/A_0001 A/A_0002 1\nx/C/C_0001.jpg x/C/C_0002.jpg 1\nA/A_0001 B/B_0001 0\n' >fit.txt
expect_status 0 lafs-verify -p pairs.txt --fit fit.txt --json e.mp >json
has json '"fit_pairs": 3, "fit_accuracy": 1'
message "2 people in both 'fit.txt' and 'pairs.txt'"
has json '"threshold": 0.3253956735134125, ' # half-way from 0.651 to 0
{ cat fit.txt; printf '%s\n' 'F/F_0001 F/F_0002 1' 'A/A_0001 F/F_0001 0'; } >more.txt # not there: left out
expect_status 0 lafs-verify -p pairs.txt --fit more.txt --json e.mp >json
has json '"fit_pairs": 3, "fit_accuracy": 1'
has json '"threshold": 0.3253956735134125, '
ok "a threshold fitted on other pairs"

expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --group side e.mp >text
grep -E '^left +3 +2 +1 +100.00 % .* 0.00 % +0.00 %$' text >/dev/null || fail_ "left: $(cat text)"
grep -E '^right +2 +2 +0 +50.00 % .* - +50.00 %$' text >/dev/null || fail_ "right: $(cat text)"
grep -E '^\(different groups\) +3 +0 +3 +66.67 % .* 33.33 % +-$' text >/dev/null || fail_ "across: $(cat text)"
expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --group side --json e.mp >json
has json '"group_field": "side", "groups": [{"group": "left", "pairs": 3, "same": 2, "different": 1, "accuracy": 1,'
expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --group sdie e.mp >text
message "no record has the field 'sdie'"
ok "groups"

for j in 1 4; do lafs-verify -p pairs.txt --fit fit.txt --group side --json -j $j --plot roc$j.svg --det det$j.svg e.mp >json$j 2>/dev/null; done
same json1 json4
same roc1.svg roc4.svg
same det1.svg det4.svg
has roc1.svg '</svg>'
has roc1.svg 'side = left (AUC 1.0000)'
hasnt roc1.svg 'side = right' # it has no different pairs
expect_status 0 lafs-verify -p pairs.txt --label 'a <b>' --plot roc.svg e.mp >/dev/null
has roc.svg 'a &lt;b&gt; (AUC 0.7500, EER 25.00 %)'
ok "pictures; the same whatever -j"

