# Sourced by tests/gpu/check and tests/cuda/embed.sh: numbers of one device held against those of another.

# values FILE.mp FIELD COUNT: the numbers of a field of all records, one a line; COUNT in all
values() { lafs-show --npy "$2" "$1" | tail -c $((4 * $3)) | od -An -v -t f4 -w4; }

# losses RUN: of each step, one a line
losses() { sed -n 's/.*"step": [0-9]*,.*"loss": \([^,]*\),.*/\1/p' "$1/log.jsonl"; }

# within LIMIT COUNT WANT GOT: both files have COUNT numbers, none of them a NaN or infinite, and line by line they are
# no further apart than LIMIT of WANT's largest. Prints the largest distance, or what is wrong.
within() {
    paste "$3" "$4" | awk -v limit="$1" -v count="$2" '
        function number(s) { return s ~ /^-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$/ }
        function size(x) { return x < 0 ? -x : x }
        NF != 2 || !number($1) || !number($2) { if (!bad) bad = "line " NR ": \"" $0 "\""; next }
        { want[NR] = $1; got[NR] = $2; if (size($1) > top) top = size($1) }
        END {
            if (!bad && NR != count) bad = NR " numbers, not " count
            if (!bad && !(top > 0)) bad = "nothing but zeros"
            for (i = 1; i <= NR && !bad; i++) {
                d = size(want[i] - got[i]) / top
                if (d > worst) worst = d
                if (!(d <= limit)) bad = "line " i ": " got[i] ", not " want[i] "; the largest is " top
            }
            if (bad) { print bad; exit 1 }
            printf "%.2g of the largest apart\n", worst
        }'
}
