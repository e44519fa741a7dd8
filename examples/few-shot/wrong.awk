# usage: awk -v threshold=T -f wrong.awk SCORES PAIRS
# The pairs that are judged wrongly at T, as lines `1|0 DISTANCE SCORE KEY KEY` with tabs. SCORES: one a line, in the order
# of PAIRS, which is LFW's `NAME i j` and `NAME1 i NAME2 j`, or `KEY KEY 1|0`; split at tabs where there are any, as
# lafs-verify does.
function key(name, i) { return sprintf("%s/%s_%04d", name, name, i) }
NR == FNR { score[NR] = $1; next }
{ sub(/\r$/, ""); fields = index($0, "\t") ? split($0, f, "\t") : split($0, f, " ") }
fields < 3 { next } # how many there are, on the first line
{
    n++
    if (fields == 4) { a = key(f[1], f[2]); b = key(f[3], f[4]); same = 0 }
    else if (f[2] ~ /^[0-9]+$/) { a = key(f[1], f[2]); b = key(f[1], f[3]); same = 1 }
    else { a = f[1]; b = f[2]; same = f[3] }
    if (score[n] == "null" || (score[n] >= threshold) == (same == 1)) next
    d = score[n] - threshold
    printf "%d\t%.6f\t%s\t%s\t%s\n", same, d < 0 ? -d : d, score[n], a, b
}
