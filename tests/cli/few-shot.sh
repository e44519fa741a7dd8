#!/bin/sh
# examples/few-shot from one end to the other, on synthetic people and models that learn nothing: every kind of cell, the
# report, and that work goes on where it was left.
set -eu
. "$(dirname "$0")/lib.sh"
if [ -n "${SAN:-}" ]; then
    skip "examples/few-shot" "with sanitizers it takes minutes, and each of its programs has tests of its own"
    exit 0
fi

lafs-synth -q --people 34 -n 4 --aligned -o people-%06d.tar
lafs-synth -q --people-from 1000 --people 16 -n 1 --aligned -o more-%06d.tar
here=$PWD
ln -s "$LAFS_BIN" bin # make ends names at blanks
cells="pixel points-none-b-k2-p0-f1 points-dino-b-k2-p1-f1 points-lafs-b-k2-p1-f1 grid-none-n-k1-p0-f1 grid-dino-n-k1-p1-f1
    grid-lafs-n-k1-p1-f1 points-lafs-b-k0-p1-f0 points-lafs-b.ordered-k2-p1-f1 points-lafs-b.still-k2-p1-f1
    points-lafs-b.tuned-k2-p1-f1 points-lafs-b.free-k2-p1-f1 points-lafs-a-k2-p1-f1 points-none-c-k2-p0-f1 points-lafs-b.warm-k2-p1-f1
    points-dino-b.long-k2-p1-f1"
few_shot() {
    (unset MAKEFLAGS MFLAGS MAKELEVEL && make -s -j2 -C "$TOP/examples/few-shot" \
        OUT="$here/out" BIN="$here/bin" LABELLED="$here/people.lafs" UNLABELLED="$here/more.lafs" SCALE=tiny FACES=24 \
        SYNTH="--people 8 -n 1" SHOTS="1 2" PRETRAIN_SEEDS=1 FINETUNE_SEEDS=1 EPOCHS=1 LONG_EPOCHS=2 STAGE1_STEPS=1 FINETUNE_STEPS=1 \
        BATCH=8 STAGE1_BATCH=8 JOBS=1 FINETUNE="--preset ../presets/few-finetune --freeze-landmarks" \
        SIZE="--dim 64 --depth 1 --heads 1 --mlp 64" CELLS="$cells" \
        PRETRAIN="--preset ../presets/few-pretrain --batch 8 --locals 2 --out-dim 64" \
        PRETRAIN_WARM="--preset ../presets/few-pretrain --batch 8 --locals 2 --out-dim 64" "$@")
}
made() { find out/results -name '*.json' | wc -l; }

expect_status 0 few_shot report >page
for c in $cells; do
    check [ -s "out/results/tiny/$c.json" ]
    has "out/results/tiny/$c.json" "{\"cell\": \"$c\", \"scale\": \"tiny\", \"commit\": "
    has "out/results/tiny/$c.json" '"scores": ['
    hasnt "out/results/tiny/$c.json" s0000 # a name
done
said() { sed -n "s/^ \"$2\": \(.*\),\$/\1/p" "out/results/tiny/$1.json"; }
few="few-finetune@$(sed '/^#/d; /^$/d' "$TOP/examples/presets/few-finetune" | sha256sum | cut -c1-12)"
size="--dim 64 --depth 1 --heads 1 --mlp 64"
check [ "$(said grid-none-n-k1-p0-f1 recipe)" = "\"finetune people of 4 steps 1 batch 8 --preset $few --freeze-landmarks | $size\"" ]
check [ -z "$(said pixel recipe)" ]
case $(said points-lafs-b-k2-p1-f1 recipe) in
'"cnn synthetic --people 8 -n 1 steps 1 batch 8 --preset '*' | pretrain faces 24 epochs 1 --preset few-pretrain@'*' | finetune '*) ;;
*) fail_ "a recipe: $(said points-lafs-b-k2-p1-f1 recipe)" ;;
esac
check [ "$(said points-lafs-b-k2-p1-f1 seeds)" = '{"pretrain": 1, "finetune": 1}' ]
check [ "$(said points-none-b-k2-p0-f1 seeds)" = '{"finetune": 1}' ]
check [ "$(said points-lafs-b-k0-p1-f0 seeds)" = '{"pretrain": 1}' ]
has out/results/tiny/points-lafs-b.warm-k2-p1-f1.json '"pretrain": {"steps": '
hasnt out/results/tiny/points-none-b-k2-p0-f1.json '"pretrain"'
ok "every kind of cell"

# What each kind is, as the runs say themselves.
run=out/tiny
option() { sed -n "s/.*\"$2\": \"\\{0,1\\}\\([^\",}]*\\).*/\\1/p" "$run/$1/config.json"; }
check [ "$(option dino-p1 method)" = dino ]
check [ "$(option dino-p1 epochs)" = 1 ]
check [ "$(option dino.long-p1 epochs)" = 2 ]
check [ "$(option lafs-b-p1 method)" = lafs ]
has $run/lafs-b-p1/config.json '"points": "sigma 5 subset 16 shuffled"'
has $run/lafs-b.still-p1/config.json '"points": "sigma 0 subset 16 shuffled"'
has $run/lafs-b.ordered-p1/config.json '"points": "sigma 5 subset 16 ordered"'
check [ "$(option points-lafs-b.free-k2-p1-f1 landmark-reg)" = 0 ]
check [ "$(option points-lafs-b.tuned-k2-p1-f1 landmark-reg)" = 1 ]
check [ "$(option points-lafs-b.tuned-k2-p1-f1 freeze-landmarks)" = 0 ]
check [ "$(option points-lafs-b-k2-p1-f1 freeze-landmarks)" = 1 ]
check [ "$(option grid-lafs-n-k1-p1-f1 tokens)" = grid ]
check [ "$(option points-dino-b-k2-p1-f1 tokens)" = landmark ]
digest() { sha256sum "$run/$1/model.safetensors" | cut -d' ' -f1; }
for pair in "points-dino-b-k2-p1-f1 dino-p1" "points-lafs-b-k2-p1-f1 lafs-b-p1" "points-lafs-b.free-k2-p1-f1 lafs-b-p1" \
    "points-lafs-a-k2-p1-f1 lafs-a2-p1" "lafs-b.warm-p1 cnn-b" "grid-dino-n-k1-p1-f1 dino-p1" \
    "points-dino-b.long-k2-p1-f1 dino.long-p1"; do
    has "$run/${pair% *}/config.json" "$(digest "${pair#* }")"
done
check [ "$(said points-lafs-b-k2-p1-f1 cnn)" = "\"$(digest cnn-b | cut -c1-12)\"" ]
check [ "$(said points-lafs-a-k2-p1-f1 cnn)" = "\"$(digest cnn-a2 | cut -c1-12)\"" ]
check [ -z "$(said grid-lafs-n-k1-p1-f1 cnn)" ]
ok "cells are what their names say"

# People are apart: of the test, of the threshold, of the labels, and what is looked at without labels.
people() { awk -F '\t' 'NF >= 5 { print $5 }' "out/people/$1.lafs" | sort -u; }
for a in apart labels; do people $a; done | sort | uniq -d >twice
same twice /dev/null
awk -F '\t' 'NF >= 5 { print $5 }' out/tiny/unlabelled.lafs | sort -u >looked
people apart | comm -12 - looked >seen
check [ -s looked ]
check [ "$(people apart | wc -l)" -ge 3 ]
for a in settings fit; do people $a; done | sort | uniq -d >>twice
same twice /dev/null
same seen /dev/null
check [ "$(lafs-show --count out/people/few-2.lafs)" = "$(($(lafs-show --count out/people/few-1.lafs) * 2))" ]
ok "people of tests are in no training"

# Names may have blanks, and a per cent sign, which an index writes as %25.
printf '0\t0\t1\tAnn Lee/%s\tAnn Lee\n' "a 1" a%252 >index
printf '0\t0\t1\tBo/%s\tBo\n' 1 2 3 >>index
(cd "$TOP/examples/few-shot" && awk -F '\t' -v most=9 -f pairs.awk "$here/index") >pairs
has pairs "$(printf 'Ann Lee/a 1\tAnn Lee/a%%2\t1')"
check [ "$(grep -c '1$' pairs)" = 4 ]
check [ "$(grep -c '0$' pairs)" = 4 ]
awk '{ print 0.1 * NR }' pairs >scores # same, different, in turns: the former at 0.1, 0.3, 0.5, 0.7
(cd "$TOP/examples/few-shot" && awk -v threshold=0.45 -f wrong.awk "$here/scores" "$here/pairs") | cut -f1-3 >got
printf '1\t0.350000\t0.1\n1\t0.150000\t0.3\n0\t0.150000\t0.6\n0\t0.350000\t0.8\n' >want
same got want
printf '2\nAnn_Lee\t1\t12\nAnn_Lee\t1\tBo\t3\n' >lfw
printf '0.2\n0.9\n' | (cd "$TOP/examples/few-shot" && awk -v threshold=0.5 -f wrong.awk - "$here/lfw") >got
printf '1\t0.300000\t0.2\tAnn_Lee/Ann_Lee_0001\tAnn_Lee/Ann_Lee_0012\n' >want
printf '0\t0.400000\t0.9\tAnn_Lee/Ann_Lee_0001\tBo/Bo_0003\n' >>want
same got want
ok "pairs, and those that are wrong"

page=$(cat page)
for text in '<h1>Few labels' '16 of 16 cells' 'data:image/svg+xml;base64,' 'data:image/jpeg;base64,' 'at landmarks (b)' \
    'Of the 8 comparisons that decide, ' '<svg class="forest"' '>people only' 'without the shuffle' '<h2>ROC' '<h2>Curves' \
    '>longer DINO' '<h2>What the landmarks look at' '<h2>The hardest pairs' '</html>'; do has "$page" "$text"; done
hasnt "$page" '="http' # nothing from elsewhere
hasnt "$page" 'Not used'
expect_status 0 few_shot summary >summary
check [ "$(cat summary)" = "out/results/tiny/README.md" -o "$(cat summary)" = "$here/out/results/tiny/README.md" ]
has out/results/tiny/README.md '| grid-none-n-k1-p0-f1 | '
hasnt out/results/tiny/README.md '<img'
hasnt out/results/tiny/README.md s0000
ok "the report, and the tables alone"

# The tables that are committed are of all cells that are (tests/real/few-shot.sh makes them anew).
for cells_of in "$TOP"/examples/few-shot/results/*/; do
    for f in "$cells_of"*.json; do
        accuracy=$(sed -n 's/^ "protocol": "[^"]*", "accuracy": \([0-9.]*\),.*/\1/p' "$f" | head -n 1)
        grep -Eq "^\| $(basename "$f" .json)( \(not used\))? \| $(printf %.3f "$accuracy") \| " "$cells_of/README.md" ||
            fail_ "$f is not in $cells_of/README.md: make summary"
    done
done
ok "committed tables are of the committed cells"

# What README.md and lafs(7) say of the full plan is what its cells say.
full=$TOP/examples/few-shot/results/full
level() { # [final/] ARM SHOTS [FORMAT]: the mean AUC of its runs
    for f in "$full/$1$2-k$3"-p*.json; do
        if [ -e "$f" ]; then sed -n 's/^ "protocol".*"auc": \([0-9.]*\),.*/\1/p' "$f" | head -n 1; fi
    done | awk -v format="${4:-%.3f}" '{ sum += $1 } END { if (NR) printf format, sum / NR }'
}
row() { # WHAT SHOTS TOKENS LABELS
    printf '| %s|' "${1:+$1 }"
    printf ' %s |' "$2" $(for d in "" final/; do for m in none dino lafs; do echo "$(level "$d" "$3-$m-$4" "$2")" | sed 's/^$/-/'; done; done)
}
{
    row "at landmarks (b)" 1 points b && echo && for k in 2 4 10; do row "" $k points b && echo; done
    row "the same, for longer" 1 points b.long && echo && for k in 2 4; do row "" $k points b.long && echo; done
    row "at landmarks (a)" 2 points a && echo && row "at landmarks (c)" 2 points c && echo
    row "at landmarks (b), warm" 2 points b.warm && echo
    row "on a grid" 1 grid n && echo && for k in 2 4 10; do row "" $k grid n && echo; done
} | sed 's/ - / /g' >want
grep -A 40 '^| patches | shots | none' "$TOP/examples/few-shot/README.md" | sed -n '3,16p' >got
same got want
# One CNN for all cells that are to have the same.
for cells_of in "$full" "$full/final"; do
    for which in a b c; do
        check [ "$(sed -n 's/^ "cnn": "\([0-9a-f]*\)",$/\1/p' "$cells_of"/points-*-$which[.-]*.json | sort -u | wc -l)" = 1 ]
        check [ -z "$(grep -L '^ "cnn"' "$cells_of"/points-*-$which[.-]*.json)" ]
    done
done
# A line of the tables: "D [L, H]" of PATCHES SHOTS OF AGAINST, beginning with DIR
differs() { sed -n "s/^| $2 | $3 | \**$4 − $5\**.*| \*\*\([-+0-9.]*\)\*\* \[\([-+0-9.]*\), \([-+0-9.]*\)\] |.*/\1 \2 \3/p" "$full$1/README.md"; }
tr '\n' ' ' <"$TOP/examples/few-shot/README.md" | tr -s ' ' >told
tr '\n' ' ' <"$TOP/README.md" | tr -s ' ' >told_first
for what in "2:at landmarks (b)" "4:at landmarks (b)" "2:at landmarks (a)"; do
    set -- $(differs "" "${what#*:}" "${what%%:*}" LAFS DINO)
    has told "$1 ($2 to $3)"
    has told_first "$1 ($2 to $3)"
done
# What four times the pretraining does: the largest distance of LAFS from DINO, and what either is above none.
apart() { # DIR
    for k in 1 2 4; do echo "$(level "$1" points-dino-b.long $k %.6f) $(level "$1" points-lafs-b.long $k %.6f)"; done |
        awk '{ d = $1 - $2; if (d > most) most = d } END { printf "%.3f", most }'
}
above() { # METHOD SHOTS FORMAT
    echo "$(level "" "points-$1-b.long" "$2" %.6f) $(level "" points-none-b "$2" %.6f)" | awk -v format="$3" '{ printf format, $1 - $2 }'
}
tr '\n' ' ' <"$TOP/man/lafs.7" >tour
has tour "LAFS comes to within $(apart "") of DINO's AUC, on other people yet to within $(apart final/), and both"
for m in lafs dino; do
    has tour "better than nothing by $(above $m 4 %.2f) at four"
    for k in 1 2; do check awk "BEGIN { exit !($(above $m $k %.6f) < 0.0125) }"; done
done
has tour "by no more than $(above dino 2 %.3f) at one and two"
plan=$(make -s -C "$TOP/examples/few-shot" DATA=x RESULTS=none plan | sed -n 1p)
has "$TOP/examples/few-shot/README.md" "12,000 updates of 4 | ${plan%% *} |"
alone() { sed -n 's/^ "protocol".*"auc": \([0-9.]*\),.*/\1/p' "$full/$1.json" | head -n 1; }
set -- $(level "" grid-none-n 4 "%.2f ") $(level "" points-none-b 4 "%.2f ") $(printf '%.2f ' "$(alone lbp)" "$(alone pixel)")
has "$TOP/man/lafs.7" "the same photos give $1, and $2 at landmarks; local binary patterns reach $3, and"
has "$TOP/man/lafs.7" "pixels $4."
ok "figures of the full plan"

# Photos that are not there are named before anything is made, not when their turn comes.
check [ ! -e early ]
expect_status 2 make -s -C "$TOP/examples/few-shot" OUT="$here/early" BIN="$here/bin" SCALE=quick \
    LABELLED="$here/people.lafs" UNLABELLED="$here/nosuch/"
message "there is no '$here/nosuch/'"
check [ ! -e early ]
ok "photos that are not there"

# A recipe is what presets say, not where they lie; a cell's holds only what made it.
stale() { few_shot "$@" stale | sed 's,.*/,,; s,\.json$,,' | sort; }
stale >none
same none /dev/null
cp -r "$TOP/examples/presets" moved
printf '# a remark\n' >>moved/few-pretrain
moved="--preset $here/moved/few-pretrain --batch 8 --locals 2 --out-dim 64"
stale PRESETS="$here/moved" PRETRAIN="$moved" PRETRAIN_WARM="$moved" >none
same none /dev/null
printf 'lr = 0.01\n' >>moved/few-pretrain
stale PRETRAIN="$moved" >got
printf '%s\n' $cells | grep -e -dino- -e -lafs- | grep -v warm | sort >want
same got want
stale BATCH=7 | grep -c . >got
echo 14 >want # all but the baseline and the one that pretraining alone left on a grid or with CNN (b): that has a CNN
stale SYNTH="--people 9 -n 1" >got
printf '%s\n' $cells | grep -- '-b' | sort >want
same got want
expect_status 0 few_shot BATCH=7 look >/dev/null
has "$page" "Not used, since made by another recipe than today's:</b> grid-dino-n-k1-p1-f1, grid-lafs"
has "$page" 'none of the 8 comparisons that decide is done'
# Nor are cells of another CNN than the rest of their kind has.
cp -r out/results/tiny as-made
sed -i 's/^ "cnn": ".*/ "cnn": "another",/' out/results/tiny/points-dino-b-k2-p1-f1.json out/results/tiny/points-lafs-a-k2-p1-f1.json
expect_status 0 few_shot look >/dev/null
has "$page" "Not used, since their landmarks are of another CNN than most cells':</b> points-dino-b-k2-p1-f1.<"
cp as-made/*.json out/results/tiny/
# What is trained by another recipe is not taken for the new one's.
mv out/results/tiny/grid-lafs-n-k1-p1-f1.json kept.json
expect_status 2 few_shot PRETRAIN="$moved --lr 0.02" cells
message "lr was"
expect_status 0 few_shot cells
sed 's/"date.*//; s/"seconds": [0-9.]*//' kept.json >want
sed 's/"date.*//; s/"seconds": [0-9.]*//' out/results/tiny/grid-lafs-n-k1-p1-f1.json >got
same got want
ok "cells, and runs, of another recipe"

expect_status 0 few_shot -n cells >again
same again /dev/null
rm -r out/tiny out/results/tiny/grid-none-n-k1-p0-f1.json
expect_status 0 few_shot cells
check [ "$(made)" = 16 ]
check [ ! -e $run/lafs-b-p1 ] # its cells are there: it is not made again
rm out/results/tiny/pixel.json
expect_status 0 few_shot look >/dev/null
check [ "$(made)" = 15 ]
has "$page" '15 of 16 cells'
has "$page" 'This report is not complete'
expect_status 0 few_shot CELLS=pixel cells
expect_status 0 few_shot plan >plan
has plan '16 cells, 0 of them to do'
expect_status 0 few_shot FINAL=1 CELLS=lbp cells
check [ -s out/results/tiny/final/lbp.json ]
expect_status 2 few_shot DATA= LABELLED= UNLABELLED= cells
message "say where the photos are"
ok "work goes on across machines; the final people apart"

# Verdicts, from cells whose answers are known: 60 people, at landmarks LAFS far above DINO, DINO like none, on a grid below it.
awk 'BEGIN { for (i = 1; i <= 60; i++) { printf "P%d/a P%d/b 1\n", i, i; printf "P%d/a Q%d/b 0\n", i, i } }' >judged.txt
sha=$(sha256sum <judged.txt | cut -d' ' -f1)
mkdir known
: >recipes
cell() { # NAME SHIFT SEED: scores of same pairs are higher by so much; recipe and seeds from the name
    rest=${1##*-p}
    awk -v name="$1" -v shift="$2" -v state="$3" -v p="${rest%-f*}" -v f="${1##*-f}" -v sha="$sha" '
        function uniform() { state = (state * 16807) % 2147483647; return state / 2147483647 }
        BEGIN {
            for (i = 1; i <= 120; i++) s = s (i > 1 ? ", " : "") sprintf("%.4f", (i % 2) * shift + 0.5 * uniform())
            printf "{\"cell\": \"%s\", \"commit\": \"c\", \"date\": \"d\", \"machine\": \"m\",\n \"recipe\": \"r\",\n", name
            printf " \"seeds\": {%s\"finetune\": %d},\n", (p > 0) ? "\"pretrain\": " p ", " : "", f
            printf " \"protocol\": \"threshold\", \"accuracy\": 0.7, \"accuracy_low\": 0.6, \"accuracy_high\": 0.8, \"auc\": 0.75, "
            printf "\"eer\": 0.3, \"threshold\": 0.4, \"tar\": {\"1e-2\": 0.1}, \"pairs_sha256\": \"%s\", \"scores\": [%s]}\n", sha, s
        }' >"known/$1.json"
    printf '%s\tr\n' "$1" >>recipes
}
for p in 1 2; do
    for f in 1 2; do
        cell points-lafs-b-k2-p$p-f$f 0.45 1$p$f
        cell points-dino-b-k2-p$p-f$f 0.2 2$p$f
    done
    cell points-none-b-k2-p0-f$p 0.2 3$p
    cell grid-none-n-k2-p0-f$p 0.4 4$p
    cell grid-dino-n-k2-p1-f$p 0.1 5$p
done
known() { (cd "$TOP/examples/few-shot" && AS=$1 BIN="$here/bin" RECIPES="$here/recipes" ./report known "$here/none" "$here/none" \
    "$here/known" "$here/judged.txt" $(cut -f1 "$here/recipes")); }
known markdown >tables
has tables 'Of the 8 comparisons that decide, 1 came out as claimed, 0 the other way round, 1 cannot be told apart, and 6 are not done.'
line() { grep -E "^\| $1 \| 2 \| \**$2 − $3\** \|" tables; }
line 'at landmarks \(b\)' LAFS DINO | grep -Eq '\| as claimed \| 0\.[0-9]+ \| people, pretraining; 4, 4 runs \|$' || fail_ "$(cat tables)"
line 'at landmarks \(b\)' DINO none | grep -q '| not told apart | .* | people, pretraining / fine-tuning; 4, 2 runs |$' ||
    fail_ "$(cat tables)"
line 'on a grid' DINO none | grep -q '| worse | .* | people, fine-tuning; 2, 2 runs |$' || fail_ "$(cat tables)"
line 'on a grid' LAFS DINO | grep -q '| not done |' || fail_ "$(cat tables)"
for f in 1 2; do for p in 1 2; do cell points-lafs-b-k2-p$p-f$f 0.01 1$p$f; done; done
known html >tables
has tables '1 the other way round, 1 cannot be told apart, and 6 are not done. The hypothesis is refuted.'
sed -i 's/^points-dino-b.*/points-dino-b-k2-p1-f1\tother/' recipes
known markdown >tables
has tables "Not used, since made by another recipe than today's:** points-dino-b-k2-p1-f1"
echo >>judged.txt
known markdown >tables
has tables 'Not used, since judged on other pairs:** '
ok "verdicts"
