#!/bin/sh
# usage: points.sh TRUE FOUND [FIT]
# Error of the five points: per photo the mean distance from the true ones, in distances of the true eyes. Prints the
# number of photos, the median and the 90th percentile. TRUE, FOUND, FIT: lines "key x1 y1 .. x5 y5", photos without a
# true line being left out. FIT: points found on other people, whose mean offset from the true ones (for each point, in
# distances of the eyes) is taken off first.
set -eu
awk -v fit="${3:+1}" '
    function eyes(k) { return sqrt((x[k, 1] - x[k, 2]) ^ 2 + (y[k, 1] - y[k, 2]) ^ 2) }
    FILENAME == ARGV[1] {
        for (i = 1; i <= 5; i++) { x[$1, i] = $(2 * i); y[$1, i] = $(2 * i + 1) }
        known[$1] = 1
        next
    }
    !($1 in known) || eyes($1) == 0 { next }
    fit && FILENAME == ARGV[2] {
        for (i = 1; i <= 5; i++) { dx[i] += ($(2 * i) - x[$1, i]) / eyes($1); dy[i] += ($(2 * i + 1) - y[$1, i]) / eyes($1) }
        n++
        next
    }
    {
        e = 0
        for (i = 1; i <= 5; i++) {
            u = ($(2 * i) - x[$1, i]) / eyes($1) - (n ? dx[i] / n : 0)
            v = ($(2 * i + 1) - y[$1, i]) / eyes($1) - (n ? dy[i] / n : 0)
            e += sqrt(u * u + v * v) / 5
        }
        print e
    }' "$1" ${3:+"$3"} "$2" | sort -g | awk '{ e[NR] = $1 }
    END { if (NR) printf "%d photos, median %.4f, 90th percentile %.4f\n", NR, e[int((NR + 1) / 2)], e[int(0.9 * NR + 0.5)] }'
