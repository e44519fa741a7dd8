# usage: awk -F '\t' -v most=500 -f pairs.awk PEOPLE.lafs
# Pairs of photos for a test, from an index: at most `most` of one person, no person more than three times, and as many of
# two people, as lines `KEY KEY 1` and `KEY KEY 0` in turns, with tabs. The same index gives the same pairs.
function below(n) { state = (state * 16807) % 2147483647; return state % n + 1 }
NF >= 5 && $1 ~ /^[0-9]+$/ {
    if (!($5 in count)) name[++people] = $5
    gsub(/%25/, "%", $4) # an index writes a per cent sign so
    key[$5, ++count[$5]] = $4
}
END {
    OFS = "\t"
    state = 20240610
    for (p = 1; p <= people; p++) { # people in an order that is not the alphabet's
        q = below(people); t = name[p]; name[p] = name[q]; name[q] = t
    }
    for (step = 1; step <= 3; step++)
        for (p = 1; p <= people && same < most; p++) {
            n = count[name[p]]
            a = step < 3 ? 1 : 2; b = step == 1 ? 2 : 3
            if (n < b) continue
            first[++same] = key[name[p], a]; second[same] = key[name[p], b]
        }
    if (people < 2 || !same) { print "pairs.awk: no pairs: too few people, or none with two photos" > "/dev/stderr"; exit 1 }
    for (i = 1; i <= same; i++) {
        p = below(people)
        do q = below(people); while (q == p)
        print first[i], second[i], 1
        print key[name[p], below(count[name[p]])], key[name[q], below(count[name[q]])], 0
    }
}
