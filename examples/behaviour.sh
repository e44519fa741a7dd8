#!/bin/sh
# usage: behaviour.sh DIR HASH "YUNET OPTIONS" "OUR OPTIONS"
# How detectors do on photos that are hard in one way each: DIR/people-HASH.lafs (photos of one person each) turned, made
# smaller and larger about their middle, or cut to a corner; rendered heads turned aside; rendered photos of 4096 pixels. N
# photos, 200. A face counts as found when the best one lies where that photo's only face (as YuNet sees it in
# DIR/lfw-HASH.lafs) has to be. Since YuNet chose the photos, what it finds elsewhere in them as they are is none. Called by examples/detector.mk.
set -eu
dir=$1 hash=$2 yunet=$3 ours=$4
BIN=${BIN:-bin} N=${N:-200}
work=$dir/behaviour
rm -rf "$work"
mkdir -p "$work"

# Photos with one face, at random but always the same: lines "key left top width height".
"$BIN/lafs-show" --json "$dir/lfw-$hash.lafs" |
    sed 's/.*"key": "\([^"]*\)-f\([0-9]*\)".*"box": \[\([^]]*\)\].*/\1 \2 \3/; s/,//g' |
    awk '{ n[$1]++; line[$1] = $1 " " $3 " " $4 " " $5 " " $6; order[NR] = $1 }
        END { for (i = 1; i <= NR; i++) if (n[order[i]] == 1) print line[order[i]] }' |
    awk -v n="$N" '{ all[NR] = $0 } END { step = NR > n ? NR / n : 1; for (i = 1; i <= NR; i += step) print all[int(i)] }' >"$work/one"

# make SIDE ANGLE SCALE CORNER: the photos on SIDE x SIDE pixels, turned by ANGLE degrees, SCALE pixels for one, or, if
# SCALE ends in "px", as makes the face so wide; about the middle, or, CORNER 1, about the top left corner. Alignment does
# it, by points that bring that about. To files in $work/photos; where the face has to be to $work/true.
make() {
    awk -v side="$1" -v angle="$2" -v scale="$3" -v corner="$4" -v t="38.2946 51.6963 73.5318 51.5014 56.0252 71.7366 41.5493 92.3655 70.7299 92.2041" '
        BEGIN { split(t, at, " "); a = angle * atan2(0, -1) / 180; c = cos(a); s = sin(a); truth = ARGV[2]; ARGV[2] = "" }
        {
            f = scale ~ /px$/ ? scale / sqrt($4 * $5) : scale
            mx = corner ? 20 : 124.5; my = mx
            printf "{\"key\": \"%s\", \"points\": [", $1
            for (i = 1; i <= 10; i += 2) {
                u = (at[i] * side / 112 - side / 2) / f; v = (at[i + 1] * side / 112 - side / 2) / f
                printf "%s[%.4f, %.4f]", (i > 1 ? ", " : ""), mx + c * u + s * v, my - s * u + c * v
            }
            print "]}"
            u = $2 + $4 / 2 - mx; v = $3 + $5 / 2 - my
            print $1, side / 2 + f * (c * u - s * v), side / 2 + f * (s * u + c * v), f * sqrt($4 * $5) >truth
        }' "$work/one" "$work/true" >"$work/points.jsonl"
    cut -d' ' -f1 "$work/one" >"$work/keys"
    rm -rf "$work/photos"
    "$BIN/lafs-shard" -q --add "$work/points.jsonl" -o "$work/marked.mp" "$dir/people-$hash.lafs"
    "$BIN/lafs-detect" -q --align-only --max-bad 1 --size "$1" -o "$work/moved.tar" "$work/marked.mp" 2>"$work/log"
    "$BIN/lafs-shard" -q --to-dir "$work/photos" "$work/moved.lafs"
}

# count LABEL OPTIONS..: share found, and faces elsewhere for each photo
count() {
    label=$1
    shift
    # shellcheck disable=SC2048,SC2086
    "$BIN/lafs-detect" -q --no-crop $* -o "$work/found.mp" "$work/photos"
    "$BIN/lafs-show" --json "$work/found.mp" |
        sed 's/.*"key": "\([^"]*\)-f[0-9]*".*"box": \[\([^]]*\)\].*/\1 \2/; s/,//g' |
        awk -v label="$label" 'NR == FNR { x[$1] = $2; y[$1] = $3; w[$1] = $4; n++; next }
            !($1 in x) { next }
            { d = sqrt(($2 + $4 / 2 - x[$1]) ^ 2 + ($3 + $5 / 2 - y[$1]) ^ 2); r = sqrt($4 * $5) / w[$1]
              if (d < 0.4 * w[$1] && r > 0.5 && r < 2 && !seen[$1]++) found++; else other++ }
            END { if (!n) { print "no photos of one face"; exit 1 }
                printf "  %s %5.1f %% found, %.2f elsewhere", label, 100 * found / n, other / n }' "$work/true" -
}

row() { # TEXT SIDE ANGLE SCALE CORNER
    make "$2" "$3" "$4" "$5"
    printf '%-28s' "$1"
    # shellcheck disable=SC2086
    { count yunet $yunet; count ours $ours; }
    echo
}
row "as they are" 224 0 0.896 0
for angle in 15 30 45 90 180; do row "turned by $angle degrees" 224 "$angle" 0.896 0; done
for pixels in 24 16 12; do row "faces of $pixels pixels" 224 0 "${pixels}px" 0; done
row "faces of 1000 pixels" 1120 0 1000px 0
row "no face: a corner" 224 0 5.6 1

# Faces that are turned aside, and one that fills a large photo: found or not.
some() { # TEXT INPUT
    printf '%-28s' "$1"
    for d in yunet ours; do
        [ $d = yunet ] && options=$yunet || options=$ours
        # shellcheck disable=SC2086
        "$BIN/lafs-detect" --no-progress --best $options -o "$work/found.mp" "$2" 2>"$work/log"
        printf '  %s %s' $d "$(tail -n 1 "$work/log" | sed 's/.*: //')"
    done
    echo
}
"$BIN/lafs-synth" -q -p $((N / 4 + 1)) -n 4 --seed 9 -o "$work/synth.tar"
"$BIN/lafs-shard" -q --to-dir "$work/all" "$work/synth.lafs"
mkdir "$work/aside"
"$BIN/lafs-show" --json "$work/synth.lafs" | sed 's/.*"key": "\([^"]*\)".*"pose": \[\([^,]*\),.*/\1 \2/' |
    awk '$2 > 45 || $2 < -45 { print $1 }' | while read -r key; do cp "$work/all/$key.jpg" "$work/aside/"; done
if [ "$(ls "$work/aside")" ]; then some "rendered, 45 degrees aside" "$work/aside"; fi
"$BIN/lafs-synth" -q -p $((N / 50 + 1)) -n 1 --size 4096 --seed 9 -o "$work/large.tar"
some "rendered, 4096 pixels" "$work/large.lafs"
