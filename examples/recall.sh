#!/bin/sh
# usage: recall.sh TRUE FOUND
# How many faces are found before so many false ones are: TRUE has lines "photo left top width height", FOUND the same
# with the score behind. Best scores first, each takes the free true face that it overlaps most, by 0.4 at least; what
# finds none is false. A true face with "doubt" behind is nobody's: what lies on it, to a fifth, counts for nothing.
set -eu
sort -k6,6gr "$2" | awk '
    function iou(a,   w, h) {
        w = (x[a] + W[a] < $2 + $4 ? x[a] + W[a] : $2 + $4) - (x[a] > $2 ? x[a] : $2)
        h = (y[a] + H[a] < $3 + $5 ? y[a] + H[a] : $3 + $5) - (y[a] > $3 ? y[a] : $3)
        return w > 0 && h > 0 ? w * h / (W[a] * H[a] + $4 * $5 - w * h) : 0
    }
    NR == FNR {
        n++; of[$1] = of[$1] " " n; x[n] = $2; y[n] = $3; W[n] = $4; H[n] = $5
        if (NF > 5) doubt[n] = 1; else all++
        next
    }
    {
        best = 0.4; at = 0; unsure = 0; m = split(of[$1], faces, " ")
        for (i = 1; i <= m; i++) {
            k = faces[i]
            if (k in doubt) { if (iou(k) >= 0.2) unsure = 1 }
            else if (!taken[k] && iou(k) >= best) { at = k; best = iou(k) }
        }
        if (at) { taken[at] = 1; found++ }
        else if (unsure) next
        else { for (k = 0; k <= 3; k++) if (false == lim[k] + 0 && !(k in r)) r[k] = found + 0; false++ }
    }
    BEGIN { lim[0] = 0; lim[1] = 5; lim[2] = 20; lim[3] = 100 }
    END {
        if (!all) { print "no faces"; exit 1 }
        printf "%d faces; found with", all
        for (k = 0; k <= 3; k++) printf " %d false: %.4f%s", lim[k], (k in r ? r[k] : found) / all, k < 3 ? "," : "\n"
    }' "$1" -
