#!/bin/sh
# Detectors on photos of groups, in one scale, at the default score: every face found; by the published one nothing else.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
. "$TOP/tests/real/lib.sh"
shared "18 faces of groups"

# Lines "photo left top width height" of both.
sed 's/.*"file": "\([^"]*\)\.jpg", "boxes": \[\[/\1 /; s/\]\]}//; s/\], \[/ /g; s/,//g' "$DATA/group-photos.jsonl" |
    awk '{ for (i = 2; i < NF; i += 4) print $1, $i, $(i + 1), $(i + 2), $(i + 3) }' >true.txt
# faces_of NAME MODEL FALSE: all faces, and at most so many other things
faces_of() {
    expect_status 0 lafs-detect -q --one-scale --no-crop -m "$2" -o found.mp "$DATA/group-photos.tar"
    lafs-show --json found.mp | sed 's/"key": "\([^"]*\)-f[0-9]*".*"box": \[\([^]]*\)\], "points".*/\1 \2/; s/[{,]//g' >found.txt
    awk -v most="$3" '
    function iou(a, b,   w, h) {
        w = (x[a] + W[a] < X[b] + V[b] ? x[a] + W[a] : X[b] + V[b]) - (x[a] > X[b] ? x[a] : X[b])
        h = (y[a] + H[a] < Y[b] + U[b] ? y[a] + H[a] : Y[b] + U[b]) - (y[a] > Y[b] ? y[a] : Y[b])
        return w > 0 && h > 0 ? w * h / (W[a] * H[a] + V[b] * U[b] - w * h) : 0
    }
    NR == FNR { n++; p[n] = $1; x[n] = $2; y[n] = $3; W[n] = $4; H[n] = $5; next }
    { m++; P[m] = $1; X[m] = $2; Y[m] = $3; V[m] = $4; U[m] = $5 }
    END { # each true face takes the free one that it overlaps most
        for (a = 1; a <= n; a++) {
            best = 0
            for (b = 1; b <= m; b++) if (p[a] == P[b] && !taken[b] && iou(a, b) > best) { best = iou(a, b); of = b }
            if (best >= 0.4) { taken[of] = 1; found++; if (!least || best < least) least = best }
        }
        printf "note %d of %d found, %d false, least overlap %.2f\n", found, n, m - found, least
        exit n != 18 || found != n || m > n + most
    }' true.txt found.txt || fail_ "not the 18 faces"
    ok "18 faces of groups, $1"
}
faces_of "the published detector" yunet.safetensors 0
own=$TOP/share/models/detector.safetensors
if [ -e "$own" ]; then faces_of "the shipped detector" "$own" 1; else skip "18 faces of groups, the shipped detector" "there is none yet"; fi
