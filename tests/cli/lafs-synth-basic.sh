#!/bin/sh
# lafs-synth: what it writes, that it writes the same whatever the threads and the rest of the set, pairs, misuse.
set -eu
. "$(dirname "$0")/lib.sh"

expect_status 0 lafs-synth --people 3 -n 2 -j 1 -o one.tar
message "6 photos"
check test -s one.lafs
tar -tf one.tar >members
has members s000002/s000002_0002.jpg
expect_status 0 lafs-synth -q --people 3 -n 2 -j 3 -o three.tar
same one.tar three.tar
expect_status 0 lafs-synth -q --people 3 -n 2 -j 2 >stream
expect_status 0 lafs-synth -q --people 3 -n 2 -j 1 >again
same stream again
ok "the same bytes for any number of threads"

expect_status 0 lafs-synth -q --people 1 --people-from 2 -n 5 -o part.tar
mkdir a b
tar -xf one.tar -C a
tar -xf part.tar -C b
same a/s000002/s000002_0002.jpg b/s000002/s000002_0002.jpg
same a/s000002/s000002_0002.mp b/s000002/s000002_0002.mp
check test ! -e b/s000001
ok "a photo does not depend on the rest of the set"

expect_status 0 lafs-synth -q --people 1 -n 2 --seed 7 -o other.tar
tar -tf other.tar >members
has members s7-000000/s7-000000_0001.jpg
expect_status 0 lafs-synth -q --people 2 -n 1 --faces 3 --size 320x200 -o many.tar
mkdir c
tar -xf many.tar -C c
has c/s000000/s000000_0001.mp faces
hasnt a/s000000/s000000_0001.mp faces
has a/s000000/s000000_0001.mp points68
ok "seeds make other names; several faces make a list of faces"

expect_status 0 lafs-synth -q --people 2 -n 2 --aligned -o aligned.tar
has aligned.lafs arcface5
has one.lafs none
ok "crops state how they were aligned"

expect_status 0 lafs-synth -q --people 40 -n 3 --size 32 --pairs pairs.txt -o small.tar
head -1 pairs.txt >first
printf '10\t12\n' | cmp - first >&2 || fail_ "first line: $(cat first)"
check test "$(wc -l <pairs.txt)" = 241
# same pairs are two photos of one person, no pair comes twice, folds share nobody
awk -F '\t' 'NR > 1 {
    fold = int((NR - 2) / 24)
    if (NF == 3) { if ($2 >= $3 || $3 > 3) bad = 1; n[$1] = 1; same++ }
    else if (NF == 4) { if ($1 == $3) bad = 1; other++ }
    else bad = 1
    if (seen[$0]++) bad = 1
    for (i = 1; i <= NF; i++) if ($i ~ /^s/) { if ($i in in_fold && in_fold[$i] != fold) bad = 1; in_fold[$i] = fold }
} END { exit bad || same != 120 || other != 120 }' pairs.txt || fail_ "pairs.txt is not as it should be"
expect_status 0 lafs-synth -q --people 40 -n 3 --size 32 --pairs again.txt -j 1 -o small2.tar
same pairs.txt again.txt
ok "pairs"

expect_status 2 lafs-synth --size 20 -o x.tar
message "--size"
expect_status 2 lafs-synth --size 250x -o x.tar
expect_status 0 lafs-synth --size 32 -o defaults.tar
message "40 photos of 10 people"
expect_status 2 lafs-synth --faces 4-2 -o x.tar
expect_status 2 lafs-synth --faces 9 -o x.tar
expect_status 2 lafs-synth --people 0 -o x.tar
expect_status 2 lafs-synth --fold-pairs 2 -o x.tar
message "--fold-pairs needs --pairs"
expect_status 2 lafs-synth -o x.tar photo.jpg
expect_status 2 lafs-synth --people 1 --pairs p.txt -o x.tar
message "--pairs"
expect_status 2 lafs-synth --people 2 --pairs x.tar -o x.tar
message "--pairs and --output are one file: 'x.tar'"
check test ! -e x.tar
check test ! -e x.lafs
ok "misuse"

expect_status 1 lafs-synth --people 2 -o nowhere/x.tar
message "nowhere"
if [ -w /dev/full ]; then
    expect_status 1 sh -c 'lafs-synth --people 2 >/dev/full'
    message "lafs-synth: "
fi
ok "what cannot be written"
