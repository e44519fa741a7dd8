# usage: awk -v threshold=T -f wrong.awk SCORES PAIRS
# The pairs that are judged wrongly at T, as lines `1|0 DISTANCE SCORE KEY KEY`. SCORES: one a line, in the order of PAIRS,
# which is LFW's `NAME i j` and `NAME1 i NAME2 j`, or `KEY KEY 1|0`.
function key(name, i) { return sprintf("%s/%s_%04d", name, name, i) }
NR == FNR { score[NR] = $1; next }
FNR == 1 && (NF == 1 || (NF == 2 && $1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/)) { next }
NF {
    n++
    if (NF == 4) { a = key($1, $2); b = key($3, $4); same = 0 }
    else if ($1 ~ /\//) { a = $1; b = $2; same = $3 }
    else { a = key($1, $2); b = key($1, $3); same = 1 }
    if (score[n] == "null" || (score[n] >= threshold) == (same == 1)) next
    d = score[n] - threshold
    print same, d < 0 ? -d : d, score[n], a, b
}
