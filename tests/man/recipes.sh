#!/bin/bash
# Every recipe of lafs-recipes(7), each subsection in a fresh directory: commands as they are printed. An argument chooses
# those whose heading holds it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
export PATH=${LAFS_BIN:=$PWD/bin}:$PATH LC_ALL=C
unset LAFS_MODEL_PATH # the shipped detector
work=$(mktemp -d "${TMPDIR:-/tmp}/lafs-recipes.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# What the recipes' readers hold, beside what prepare.sh makes: people's files in the forms that the field has.
more() {
    lafs-shard -q --to-dir crops faces.lafs && cp -r photos lfw && printf 'GIF89a' >party.gif
    lafs-synth -q --people 10 -n 4 --seed 8 --people-from 5 --aligned -o others.tar # half of them are those of faces.lafs
    mkdir wds && n=0 && for f in crops/*/*.jpg; do
        cp "$f" "wds/$(printf '%03d' $n).jpg" && echo $((n / 4)) >"wds/$(printf '%03d' $n).cls" && n=$((n + 1))
    done
    tar -cf wds-000000.tar --sort=name -C wds $(cd wds && ls | head -n 40)
    tar -cf wds-000001.tar --sort=name -C wds $(cd wds && ls | tail -n +41)
    mkdir -p IJBC/loose_crop IJBC/meta && n=0 && for f in photos/*/*.jpg; do
        n=$((n + 1)) && cp "$f" IJBC/loose_crop/$n.jpg
        echo "$n.jpg $((50 + n % 5)) 60 92 61 70 75 55 95 90 $((93 + n % 3)) 0.9$((n % 7))" >>IJBC/meta/ijbc_name_5pts_score.txt
        echo "$n.jpg $(((n + 1) / 2)) $n" >>IJBC/meta/ijbc_face_tid_mid.txt
    done
    for a in $(seq 1 20); do for b in $(seq $((a + 1)) 20); do
        echo "$a $b $((b == a + 1 && a % 2))"
    done; done >IJBC/meta/ijbc_template_pair_label.txt
    for g in 1 2; do
        echo TEMPLATE_ID,SUBJECT_ID
        for p in $(seq $((5 * g - 5)) $((5 * g - 1))); do echo "$((2 * p + 1)),$p"; done
    done | awk '/^T/ { f = "IJBC/meta/ijbc_1N_gallery_G" ++n ".csv" } { print > f }'
    { echo TEMPLATE_ID,SUBJECT_ID; for p in $(seq 0 9); do echo "$((2 * p + 2)),$p"; done; } >IJBC/meta/ijbc_1N_probe_mixed.csv
    rm -r wds
    ls crops | awk '{ p[n++] = $1 "/" $1 } END { for (i = 0; i < n; i++) {
        print p[i] "_0001", p[i] "_0002", 1
        print p[i] "_0001", p[(i + 1) % n] "_0001", 0
    } }' >few.txt
    lafs-shard -q --to-rec train faces.lafs && lafs-shard -q --to-bin lfw.bin --pairs few.txt faces.lafs && rm few.txt
}
mkdir "$work/prepared"
if ! bash tests/man/prepare.sh "$work/prepared" >"$work/log" 2>&1 || ! (cd "$work/prepared" && set -e && more) >"$work/log" 2>&1; then
    sed 's/^/    /' "$work/log" >&2
    echo "FAIL preparation of the recipes"
    exit 1
fi

# FILE <tab> heading, and the commands of each subsection in FILE.
mandoc -T ascii -O width=1000 man/lafs-recipes.7 | sed 's/.\x08//g' | awk -v dir="$work" '
    /^  ? ? ?[^ ]/ { sub(/^ +/, ""); file = dir "/" ++n ".sh"; print file "\t" $0; next }
    /^[^ ]/ { file = "" }
    sub(/^ +\$ /, "") || sub(/^ +> /, "") { if (file == "") exit 1; print > file }' >"$work/recipes" ||
    complain "commands outside of a subsection"
# Whether a writer is killed by a pipe that head has closed is luck; here head reads to the end.
head() { command head "$@" && cat >/dev/null; }
export -f head
ran=0
while IFS=$'\t' read -r file heading; do
    case "$heading" in *"${1:-}"*) ;; *) continue ;; esac
    [ -s "$file" ] || { complain "no command in '$heading'"; continue; }
    if grep -q -w python3 "$file" && ! command -v python3 >/dev/null; then
        echo "skip recipe: $heading: there is no python3"
        continue
    fi
    cp -a "$work/prepared" "$work/here"
    (cd "$work/here" && timeout 300 bash -eux -o pipefail "$file") >"$work/log" 2>&1 </dev/null || {
        tail -c 3000 "$work/log" | sed 's/^/    /' >&2
        complain "failed: '$heading'"
    }
    rm -rf "$work/here"
    ok "recipe: $heading"
    ran=$((ran + 1))
done <"$work/recipes"
[ $ran -ge 15 ] || [ $# -gt 0 ] || complain "$ran recipes only"
ok "recipes: all were run"
finish
