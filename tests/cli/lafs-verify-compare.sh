#!/bin/sh
# lafs-verify --scores and --compare: two models on pairs whose figures can be worked out by hand.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/records.inc"

# Cosines of the first model: same 1, 1, 0; different 0, 0, 1. Of the second: same 1, 1, 1; different 0, 0, -1.
{ record A/A_0001 1 0; record A/A_0002 2 0; record B/B_0001 0 1; record B/B_0002 0 3; } >part.mp
{ cat part.mp; record C/C_0001 1 0; record C/C_0002 0 1; } >one.mp
{ cat part.mp; record C/C_0001 -1 0; record C/C_0002 -1 0; } >two.mp
printf 'A/A_0001 A/A_0002 1\nB/B_0001 B/B_0002 1\nC/C_0001 C/C_0002 1\n' >pairs.txt
printf 'A/A_0001 B/B_0001 0\nA/A_0002 B/B_0002 0\nA/A_0001 C/C_0001 0\n' >>pairs.txt
for m in one two; do
    expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --json --scores $m.mp >$m.json
done
digest=$(sha256sum <pairs.txt | cut -d' ' -f1)
has one.json "\"pairs_sha256\": \"$digest\", \"scores\": [1, 1, 0, 0, 0, 1]}"
has two.json '"scores": [1, 1, 1, 0, 0, -1]}'
expect_status 0 lafs-verify -p pairs.txt --threshold 0.5 --json one.mp >plain.json
hasnt plain.json scores
expect_status 0 lafs-verify -q -p pairs.txt --threshold 0.5 --json --scores part.mp >part.json
has part.json '"scores": [1, 1, null, 0, 0, null]}'
ok "scores in the order of the pairs"

expect_status 0 lafs-verify -p pairs.txt --compare one.json two.json >text
cat >want <<'END'
6 pairs of 3 people; 1 model against 1

                model    against   difference   95 % interval       better in
END
head -n 3 text >got
same got want
message "the intervals come from 3 people: of fewer than 20 they are too narrow"
grep -Eq '^accuracy % +100\.00 +66\.67 +\+33\.33  \[0\.00, 100\.00\] +[0-9.]+ %$' text || fail_ "accuracy: $(cat text)"
grep -Eq '^AUC +1\.0000 +0\.6667 +\+0\.3333  ' text || fail_ "AUC: $(cat text)"
expect_status 0 lafs-verify -p pairs.txt --compare two.json --bootstrap 0 --json one.json >json
has json '{"pairs": 6, "people": 3, "models": 1, "models_against": 1, "bootstrap": 0, "accuracy": {"of": 0.6666666666666666, "against": 1, "difference": -0.33333333333333337, "low": null, "high": null, "std": null, "better": null}, "auc": {'
# Missing photos are wrong: the same as if both scores of C were on the wrong side.
expect_status 0 lafs-verify -p pairs.txt --compare one.json --compare two.json --json part.json >json
has json '"models": 1, "models_against": 2, "bootstrap": 1000, "accuracy": {"of": 0.6666666666666666, "against": 0.8333333333333333,'
ok "a difference with its interval"

# Two people make a pair, whichever stands first.
sed '4,$s/^\(.*\) \(.*\) 0/\2 \1 0/' pairs.txt >turned.txt
for m in one two; do lafs-verify -q -p turned.txt --threshold 0.5 --json --scores $m.mp >$m.turned; done
expect_status 0 lafs-verify -p pairs.txt --compare one.json --json two.json >straight
expect_status 0 lafs-verify -p turned.txt --compare one.turned --json two.turned >turned
same straight turned
check [ "$(head -n 4 turned.txt | tail -n 1)" = "B/B_0001 A/A_0001 0" ]
ok "the order of a pair"

has json ', "drawn": null, "drawn_against": "run"}'
[ "$(tail -n 1 text)" = "drawn: people only" ] || fail_ "what was drawn: $(cat text)"
seeds() { sed "s/^{/{\"seeds\": {$1}, /" "$2"; }
seeds '"pretrain": 1, "finetune": 1' one.json >p1f1.json
seeds '"pretrain": 1, "finetune": 2' one.json >p1f2.json
seeds '"pretrain": 2, "finetune": 1' two.json >p2f1.json
seeds '"finetune": 1' two.json >f1.json
seeds '"finetune": 2' part.json >f2.json
expect_status 0 lafs-verify -p pairs.txt --compare f1.json --compare f2.json p1f1.json p2f1.json p1f2.json >text
[ "$(tail -n 1 text)" = "drawn: people; pretrain (2); finetune of those against (2)" ] || fail_ "what was drawn: $(cat text)"
grep -Eq '^accuracy % +83\.33 ' text || fail_ "a pretraining weighs by its runs: $(cat text)" # 4/6 by two runs, and 1
expect_status 0 lafs-verify -p pairs.txt --compare one.json --json p1f1.json p1f2.json >json
has json ', "drawn": "finetune", "drawn_against": null}'
expect_status 2 lafs-verify -p pairs.txt --compare f1.json p1f1.json p2f1.json p1f1.json
message "runs 1 and 3 of a side are of the same seeds"
expect_status 2 lafs-verify -p pairs.txt --compare f1.json p1f1.json f2.json
message "runs 1 and 2 of a side do not state the same kinds of seeds"
seeds '"finetune": "x"' one.json >odd.json
expect_status 1 lafs-verify -p pairs.txt --compare f1.json odd.json
message "'odd.json': its seed 'finetune' is no whole number"
ok "runs that share a seed are drawn together"

for j in 1 4; do lafs-verify -p pairs.txt --compare one.json --json -j $j two.json part.json >json$j; done
same json1 json4
lafs-verify -p pairs.txt --compare one.json --json --seed 2 two.json part.json >json2
cmp -s json1 json2 && fail_ "another seed gives the same intervals"
expect_status 0 lafs-verify -p pairs.txt --compare one.json --plot roc.svg --det det.svg two.json >/dev/null
for text in '>two (AUC 1.0000)<' '>one (AUC 0.6667)<' '6 pairs of 3 people'; do has roc.svg "$text"; done
has det.svg '>two (AUC 1.0000)<'
ok "the same whatever -j; pictures"

expect_status 2 lafs-verify --compare one.json two.json
message "--compare needs --pairs"
expect_status 2 lafs-verify -p pairs.txt --compare one.json
message "what is to be compared with 'one.json'?"
for more in "--threshold 0.5" "--take 3" "--max-bad 0" "--rejects r.jsonl"; do
    # shellcheck disable=SC2086
    expect_status 2 lafs-verify -p pairs.txt --compare one.json $more two.json
    message "--compare goes with --pairs, --bootstrap, --plot, --det, --json and --seed alone"
done
expect_status 2 lafs-verify -p pairs.txt --scores one.mp
message "--scores goes with --json"
expect_status 2 lafs-verify --json --scores one.mp
expect_status 1 lafs-verify -p pairs.txt --compare one.json plain.json
message "'plain.json': it has no scores: was it written with --scores?"
expect_status 1 lafs-verify -p pairs.txt --compare nothing.json two.json
message "nothing.json"
sed 1d pairs.txt >fewer.txt
expect_status 1 lafs-verify -p fewer.txt --compare one.json two.json
message "'two.json' holds scores of other pairs than those of 'fewer.txt'"
sed 's/, 1]/]/' one.json >cut.json
expect_status 1 lafs-verify -p pairs.txt --compare cut.json two.json
message "'cut.json' has 5 scores, but there are 6 pairs"
ok "what cannot be compared is refused"
