#!/bin/sh
# A folder of IJB in the published layout goes in, is aligned by its own points, embedded, aggregated and scored; the
# figures are those that awk computes from the embeddings by the published rules.
set -eu
. "$(dirname "$0")/lib.sh"

# Eight people, six photos each; each person has two templates of three photos, the first two of which are one media.
lafs-synth -q --people 8 -n 6 --size 160 --seed 5 -o photos.tar
lafs-shard -q --to-dir flat photos.lafs
lafs-show --json photos.lafs | sed -E 's/.*"key": "([^"]*)".*"points": \[\[([^]]*)\], \[([^]]*)\], \[([^]]*)\], \[([^]]*)\], \[([^]]*)\]\].*/\1 \2 \3 \4 \5 \6/; s/,//g' >points
mkdir -p IJBT/loose_crop IJBT/meta
awk -v dir=IJBT '{
    print "flat/" $1 ".jpg", dir "/loose_crop/" NR ".jpg" > "moves"
    score = 0.5 + ((NR * 37) % 50) / 100
    printf "%d.jpg", NR > (dir "/meta/ijbt_name_5pts_score.txt")
    for (i = 2; i <= NF; i++) printf " %s", $i > (dir "/meta/ijbt_name_5pts_score.txt")
    printf " %s\n", score > (dir "/meta/ijbt_name_5pts_score.txt")
    t = 100 + int((NR - 1) / 3); k = (NR - 1) % 3
    print NR ".jpg", t, (k < 2 ? 1000 + NR - k : 5) > (dir "/meta/ijbt_face_tid_mid.txt")
} END {
    for (a = 100; a < 116; a++) for (b = a + 1; b < 116; b++)
        print a, b, (int((a - 100) / 2) == int((b - 100) / 2)) > (dir "/meta/ijbt_template_pair_label.txt")
}' points
while read -r from to; do cp "$from" "$to"; done <moves
meta=IJBT/meta/ijbt

expect_status 0 lafs-shard IJBT -o raw.tar
message '48 records read, 48 written'
lafs-show --json -n 4 raw.lafs | tail -n 1 >json
has json '{"key": "4", "jpg": '
has json '"score": 0.98, "template": 101, "media": 1004}'
lafs-show --json raw.lafs | sed -E 's/.*"points": \[\[([^]]*)\], \[([^]]*)\], \[([^]]*)\], \[([^]]*)\], \[([^]]*)\]\].*/\1 \2 \3 \4 \5/; s/,//g' >read
cut -d' ' -f2- points >want
same want read
ok "photos, points, score, template and media, in the order of the list"

# The crops are those of the same photos by the same points, to the bit.
expect_status 0 lafs-detect -q --align-only -o ijbt-%06d.tar IJBT
lafs-detect -q --align-only -o other.tar photos.lafs
for f in ijbt-000000 other; do mkdir $f && tar -xf $f.tar -C $f --wildcards '*.jpg'; done
cat other/*/*.jpg | cksum >want
i=1
while [ $i -le 48 ]; do cat ijbt-000000/$i.jpg; i=$((i + 1)); done | cksum >got
same want got
ok "aligned by the list's points"

lafs-embed -q --baseline lbp ijbt.lafs >e.stream
lafs-show --json --full e.stream | sed -E 's/.*"key": "([^"]*)".*"embedding": \[([^]]*)\].*/\1 \2/; s/,//g' >embeddings

# usage: figures UNIT_NORM WEIGHTED: AUC, and TAR at the corner of the ROC whose FPR is nearest 0.01, 0.1
figures() {
    awk -v unit="$1" -v weighted="$2" '
    FILENAME == ARGV[1] { tid[$1 + 0] = $2; mid[$1 + 0] = $3; next }
    FILENAME == ARGV[2] { weight[$1 + 0] = weighted ? $NF : 1; next }
    FILENAME == ARGV[3] {
        w = weight[$1]; len = 0; dim = NF
        for (i = 2; i <= NF; i++) len += $i * $i
        if (unit) w /= sqrt(len)
        m = tid[$1] "," mid[$1]; of[m] = tid[$1]; n[m]++
        for (i = 2; i <= NF; i++) media[m, i] += w * $i
        next
    }
    FNR == 1 {
        for (m in of) for (i = 2; i <= dim; i++) sum[of[m], i] += media[m, i] / n[m]
        for (m in of) if (!(of[m] in norm)) {
            len = 0
            for (i = 2; i <= dim; i++) len += sum[of[m], i] ^ 2
            norm[of[m]] = sqrt(len)
        }
    }
    {
        dot = 0
        for (i = 2; i <= dim; i++) dot += sum[$1, i] * sum[$2, i]
        s[++pairs] = dot / norm[$1] / norm[$2]; y[pairs] = $3; pos += $3
    }
    END {
        neg = pairs - pos
        for (a = 1; a <= pairs; a++) for (b = 1; b <= pairs; b++)
            if (y[a] && !y[b]) wins += s[a] > s[b] ? 1 : s[a] == s[b] ? 0.5 : 0
        printf "auc %.9f\n", wins / pos / neg
        for (a = 2; a <= pairs; a++) { # sorted, the highest first
            v = s[a]; l = y[a]
            for (b = a - 1; b > 0 && s[b] < v; b--) { s[b + 1] = s[b]; y[b + 1] = y[b] }
            s[b + 1] = v; y[b + 1] = l
        }
        k = 0; tp = 0; fp = 0; x[0] = 0; t[0] = 0
        for (a = 1; a <= pairs; a++) {
            if (y[a]) tp++; else fp++
            if (a < pairs && s[a + 1] == s[a]) continue
            x[++k] = fp; t[k] = tp
        }
        split("0.01 0.1", far, " ")
        for (r = 1; r <= 2; r++) {
            best = -1
            for (a = 0; a <= k; a++) {
                if (a > 0 && a < k && (x[a] - x[a - 1]) * (t[a + 1] - t[a]) == (x[a + 1] - x[a]) * (t[a] - t[a - 1])) continue
                d = x[a] / neg - far[r]; if (d < 0) d = -d
                if (best < 0 || d < least || (d == least && (x[a] > x[best] || t[a] > t[best]))) { best = a; least = d }
            }
            printf "tar %s %.9f\n", far[r], t[best] / pos
        }
    }' $meta"_face_tid_mid.txt" $meta"_name_5pts_score.txt" embeddings $meta"_template_pair_label.txt"
}
verify() { # OPTION...
    lafs-verify -q --templates $meta"_face_tid_mid.txt" --pairs $meta"_template_pair_label.txt" --far 0.01,0.1 --json "$@" e.stream >json
    sed -nE 's/.*"auc": ([0-9.e-]+).*/auc \1/p' json
    sed -nE 's/.*"far": 0.01, "tar": ([0-9.e-]+).*"far": 0.1, "tar": ([0-9.e-]+).*/tar 0.01 \1\ntar 0.1 \2/p' json
}
agree() { # NAME, then two files of figures
    check test "$(wc -l <"$2")" = 3
    paste -d' ' "$2" "$3" | awk '{ d = $(NF / 2) - $NF; if (d < -1e-6 || d > 1e-6) bad = 1 } END { exit bad }' ||
        fail_ "$1: $(cat "$2") and $(cat "$3")"
}
for how in "0 1:" "1 1:--unit-norm" "0 0:--no-face-score" "1 0:--unit-norm --no-face-score"; do
    # shellcheck disable=SC2086
    figures ${how%%:*} >want
    # shellcheck disable=SC2086
    verify ${how#*:} >got
    agree "$how" want got
    cat want >>all
done
check test "$(sort -u all | wc -l)" -gt 6 # the switches matter here
verify --face-scores $meta"_name_5pts_score.txt" >got
figures 0 1 >want
agree "--face-scores" want got
has json '"photos": 48, "templates": 16, "bootstrap": 0, "bad": 0, "missing": 0'
ok "figures are those of the published rules: norms kept or not, weighted by the detector's score or not"

# Windows line ends, tabs, a last line without an end, blank lines: the same records.
cp -r IJBT dos
for f in dos/meta/*; do sed 's/ /\t/g; s/$/\r/; 3s/$/\n\r/' "$f" >f && head -c -2 f >"$f"; done
lafs-shard -q IJBT >a.stream
lafs-shard -q dos >b.stream
same a.stream b.stream
expect_status 0 lafs-verify -q --templates dos/meta/ijbt_face_tid_mid.txt --pairs dos/meta/ijbt_template_pair_label.txt \
    --far 0.01,0.1 --json e.stream >dos.json
verify >got
same json dos.json
ok "Windows line ends"

mv IJBT/loose_crop/34.jpg IJBT/loose_crop/3..4.jpg # two dots, but no way out of the folder
sed -i 's/^34.jpg /3..4.jpg /' $meta"_name_5pts_score.txt" $meta"_face_tid_mid.txt"
rm IJBT/loose_crop/7.jpg && printf 'GIF89a' >IJBT/loose_crop/8.jpg
sed -i '20s/.*/19.jpg 1 2 3 4 5 6 7 8 9 10 0.5/' $meta"_name_5pts_score.txt"
sed -i 's/^30.jpg .*/30.jpg 1 2 3 4 5 6 7 8 9 x 0.5/; s/^31.jpg /..\/31.jpg /' $meta"_name_5pts_score.txt"
sed -i '/^33.jpg /d' $meta"_face_tid_mid.txt"
expect_status 1 lafs-shard --rejects r IJBT -o x.tar
message '6 of 48 records were bad'
has r '"7", "reason": "cannot open '
has r '"8", "reason": "neither a JPEG nor a PNG photo but a GIF picture: convert it first"'
has r "ijbt_name_5pts_score.txt' line 20: it was in line 19 already"
has r "ijbt_name_5pts_score.txt' line 30: 'x' is no number"
has r "ijbt_name_5pts_score.txt' line 31: '../31.jpg' leads out of the folder"
has r '"33", "reason": "its folder'"'"'s list *_face_tid_mid.txt names no template for it"'
check test ! -e x.lafs
ok "missing, foreign, repeated and malformed images are named and counted"

cp dos/meta/* . && rm dos/meta/ijbt_template_pair_label.txt
bad_list() { # FILE SED-SCRIPT MESSAGE
    sed "$2" "$1" >dos/meta/"$1"
    expect_status 1 lafs-shard dos -o x.tar
    message "$3"
    cp "$1" dos/meta/
}
bad_list ijbt_name_5pts_score.txt '5s/\r/ 1\r/' "line 5: 13 fields, not the 12 of 'IMAGE x1 y1 .. x5 y5 score'"
bad_list ijbt_face_tid_mid.txt '5s/\r/ 1\r/' "line 5: 4 fields, not the 3 of 'IMAGE template media'"
bad_list ijbt_face_tid_mid.txt '5s/[0-9]*\r/x\r/' "line 5: '101 x' are no numbers of template and media"
bad_list ijbt_face_tid_mid.txt '9s/^[0-9]*/2/' "line 9: '2.jpg' was in line 2 already"
cp ijbt_name_5pts_score.txt dos/meta/other_name_5pts_score.txt
expect_status 1 lafs-shard dos
message "'dos/meta' holds several lists *_name_5pts_score.txt"
rm dos/meta/other_name_5pts_score.txt dos/meta/ijbt_face_tid_mid.txt
lafs-shard -q dos >b.stream
lafs-show --json -n 1 b.stream >json
hasnt json template
has json '"score": '
ok "lists of another form are errors that name the line"
