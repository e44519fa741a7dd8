#!/bin/bash
# What README.md says is so: every command shown is run (in order, in one prepared directory) or is a target of the
# Makefile, every file linked to is there, every option named exists, the table of programs is complete, and so on.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
export PATH=$LAFS_BIN:$PATH LC_ALL=C
unset LAFS_MODEL_PATH # the shipped detector
work=$(mktemp -d "${TMPDIR:-/tmp}/lafs-readme.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The lines of code, fenced or indented by four, "SECTION<tab>LINE"; those that end in \ are joined.
awk '
    /^#+ / { section = $0; sub(/^#+ /, "", section) }
    /^```/ { fenced = !fenced; next }
    fenced || /^    / {
        line = $0
        if (!fenced) sub(/^    /, "", line)
        if (part != "") sub(/^ +/, "", line)
        part = part line
        if (sub(/\\$/, "", part)) next
        print section "\t" part
        part = ""
    }' README.md >"$work/code"
picture="The line" # the section whose code is a drawing

programs=$(cd cmd && ls lafs-*.c | sed 's/\.c$//')
targets=$(sed -nE 's/^([a-z][a-z-]*):.*/\1/p' Makefile | sort -u)

# -- commands --

: >"$work/commands"
n=0
while IFS=$'\t' read -r section line; do
    line=${line%%  #*}
    [ -n "${line// /}" ] || continue
    [ "$section" != "$picture" ] || continue
    n=$((n + 1))
    case "$line" in
    make\ *)
        for word in ${line#make }; do
            case "$word" in
            *=*) grep -q "^${word%%=*} ?=" Makefile || complain "README: '$line': the Makefile knows no ${word%%=*}" ;;
            *) grep -qx -e "$word" <<<"$targets" || complain "README: '$line': the Makefile has no target '$word'" ;;
            esac
        done ;;
    lafs-*) printf '%s\n' "$line" >>"$work/commands" ;;
    *) complain "README: nobody runs '$line': this test knows neither a program nor a target in it" ;;
    esac
done <"$work/code"
[ "$n" -ge 5 ] || complain "README shows $n commands only"
ok "README: every line of code is a command"

# Photos of people, and faces without names; some people have to be in the test, some not.
prepare() {
    cd "$work/here" && lafs-synth -q --people 24 -n 4 --seed 3 | lafs-shard -q --to-dir photos &&
        lafs-synth -q --people 6 -n 4 --people-from 900 --aligned -o named.tar && lafs-shard -q --to-dir crops named.lafs &&
        mkdir flat && cp crops/*/*.jpg flat/ && lafs-shard -q --aligned --names none -o unlabelled.tar flat &&
        rm -r crops flat named*
}
mkdir "$work/here"
(prepare) >"$work/log" 2>&1 || complain "preparation: $(tail -n 5 "$work/log")"

# Training is cut to an epoch of small batches; all else is run as it stands.
while IFS= read -r line; do
    case "$line" in
    lafs-pretrain\ * | lafs-finetune\ *) line="$line --epochs 1 --batch 8 --micro 8" ;;
    esac
    (cd "$work/here" && timeout 300 bash -e -o pipefail -c "$line") >"$work/log" 2>&1 </dev/null ||
        complain "README: '$line' failed: $(tail -n 5 "$work/log")"
    echo "$line" >>"$work/ran"
done <"$work/commands"
ok "README: every command runs ($(wc -l <"$work/ran") of $(wc -l <"$work/commands"))"

# What the text says the commands make.
for made in faces.lafs look.jpg run/ft/model.safetensors roc.svg; do
    grep -q -e "$made" -e "${made%/*}" "$work/commands" || continue
    [ -s "$work/here/$made" ] || complain "README: no $made after its commands"
done
if [ -s "$work/here/faces.lafs" ]; then
    lafs-show "$work/here/faces.lafs" >"$work/shown"
    grep -q '112x112, aligned' "$work/shown" || complain "README: faces are no 112x112 crops"
fi
ok "README: the commands make what they name"

# -- programs, files, options --

listed=$(sed -nE 's/^\| \[(lafs-[a-z-]+)\]\(man\/\1\.1\) \| .+ \|$/\1/p' README.md | sort)
differ=$(diff <(echo "$listed") <(echo "$programs" | sort))
[ -z "$differ" ] || complain "README: its table (<) and cmd/ (>) differ: $differ"
differ=$(diff <(echo "$listed") <(cd man && ls lafs-*.1 | sed 's/\.1$//' | sort))
[ -z "$differ" ] || complain "README: its table (<) and man/ (>) differ: $differ"
ok "README: the table of programs"

for file in $(grep -oE '\]\([^)#]+' README.md | sed 's/^](//' | grep -v '^https*:' | sort -u); do
    [ -e "$file" ] || complain "README: there is no $file"
done
for folder in $(grep -oE '`[a-z]+/`' README.md | tr -d '`' | sort -u); do
    [ -d "$folder" ] || complain "README: there is no $folder"
done
for word in $(grep -oE '\blafs-[a-z]+(-[a-z]+)*\b' README.md | sort -u); do
    grep -qx -e "$word" <<<"$programs" || ls man/"$word".[57] >/dev/null 2>&1 || complain "README: there is no $word"
done
ok "README: files, folders and programs that it names"
for folder in lib kernels tests; do
    for sub in "$folder"/*/; do
        grep -qF "| \`$(basename "$sub")/\` |" $folder/README.md || complain "$folder/README.md has no line for $sub"
    done
done
ok "READMEs of lib, kernels and tests: a line for each folder"

for p in $programs; do "$p" --help >"$work/$p.help"; done
while IFS= read -r span; do
    p=$(grep -oE '\blafs-[a-z]+(-[a-z]+)*\b' <<<"$span" | head -n 1)
    for option in $(grep -oE -e '(^| )--[a-z][a-z-]*' <<<"$span"); do
        cat "$work"/${p:-*}.help | grep -qE -e " $option( |\$)" || # of a span that names no program: of any
            complain "README: \`$span\`: no option $option"
    done
done < <(grep -oE '`[^`]+`' README.md | tr -d '`' | grep -e '--')
ok "README: options that it names"

# -- numbers --

for package in libarchive libjpeg libpng msgpack; do
    ! grep -q "$package" README.md || grep -q "$package" tools/deps || complain "README: tools/deps does not know $package"
done
ok "README: packages"

claimed=$(grep -oE 'about [0-9]+ GFLOP' README.md | grep -oE '[0-9]+' | head -n 1)
if [ -n "$claimed" ]; then
    (cd "$work/here" &&
        lafs-pretrain --dry-run --size b --batch 1 --out-dim 1000 --landmarks grid -o none unlabelled.lafs) >"$work/dry" 2>&1
    work_=$(sed -nE 's/^work +([0-9.]+) GFLOP an image.*/\1/p' "$work/dry")
    awk -v c="$claimed" -v w="${work_:-0}" 'BEGIN { exit !(w > 0.85 * c && w < 1.15 * c) }' ||
        complain "README says $claimed GFLOP an image of size b, lafs-pretrain --dry-run says ${work_:-nothing}"
    ok "README: $claimed GFLOP an image"
fi
[ ! -e "$work/here/none" ] || complain "a dry run leaves a run"
finish
