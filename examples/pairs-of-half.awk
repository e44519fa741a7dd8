# usage: awk -F '\t' -f pairs-of-half.awk HALF.lafs PAIRS
# Of LFW pairs (first line: how many of either kind) those whose people are in the index HALF.lafs, as pairs of keys, as
# many of the same person as of two: with two indexes that share nobody, a threshold can be chosen on one half of the
# people and judged on the other.
function key(name, i) { return sprintf("%s/%s_%04d", name, name, i) }
FNR == 1 { file++; next }
file == 1 { if (NF >= 5 && $1 ~ /^[0-9]+$/) have[$NF] = 1; next }
NF == 3 && ($1 in have) { same[++s] = key($1, $2) " " key($1, $3) " 1" }
NF == 4 && ($1 in have) && ($3 in have) { different[++d] = key($1, $2) " " key($3, $4) " 0" }
END {
    n = s < d ? s : d
    for (i = 1; i <= n; i++) print same[int((i - 1) * s / n) + 1] "\n" different[int((i - 1) * d / n) + 1]
}
