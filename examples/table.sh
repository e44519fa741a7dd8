#!/bin/sh
# usage: table.sh DIR "LABEL" FILE.json ["LABEL" FILE.json]...
# Prints a table of what lafs-verify --json wrote.
set -eu
dir=$1
shift
number() { # FILE KEY: the number of a top-level key, or -
    tr ',{' '\n\n' <"$1" | sed -n "s/^ *\"$2\": *\([-0-9.e+]*\).*/\1/p" | head -n 1 | sed 's/^$/-/'
}
printf '%-34s %9s %17s %8s %8s\n' "" accuracy "95 % interval" AUC EER
while [ $# -gt 0 ]; do
    f=$dir/$2
    awk -v l="$1" -v a="$(number "$f" accuracy)" -v s="$(number "$f" accuracy_std)" -v from="$(number "$f" accuracy_low)" \
        -v to="$(number "$f" accuracy_high)" -v u="$(number "$f" auc)" -v e="$(number "$f" eer)" 'BEGIN {
        interval = from == "" ? sprintf("+- %.4f (folds)", s) : sprintf("%.4f to %.4f", from, to)
        printf "%-34s %9.4f %17s %8.4f %8.4f\n", l, a, interval, u, e }'
    shift 2
done
