#!/bin/sh
# usage: table.sh DIR "LABEL" FILE.json ["LABEL" FILE.json]...
# Prints a table of what lafs-verify --json wrote.
set -eu
dir=$1
shift
number() { # FILE KEY: the number of a top-level key
    tr ',{' '\n\n' <"$1" | sed -n "s/^ *\"$2\": *\([-0-9.e+]*\).*/\1/p" | head -n 1
}
printf '%-28s %9s %8s %8s %8s\n' "" accuracy "+-" AUC EER
while [ $# -gt 0 ]; do
    f=$dir/$2
    awk -v l="$1" -v a="$(number "$f" accuracy)" -v s="$(number "$f" accuracy_std)" -v u="$(number "$f" auc)" -v e="$(number "$f" eer)" \
        'BEGIN { printf "%-28s %9.4f %8.4f %8.4f %8.4f\n", l, a, s, u, e }'
    shift 2
done
