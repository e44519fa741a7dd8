#!/bin/sh
# LAFS_CPU: every level that this machine has gives the same embeddings within rounding, avx2 and wider to the bit; the
# level is told, and one that is not there is refused. --precision: near fp32, the same bits at every level but AMX,
# whatever -j and --batch.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
unset LAFS_CPU
models_trained

expect_status 2 env LAFS_CPU=sse9 lafs-embed -q -m m.safetensors -o none.mp faces.lafs
message "LAFS_CPU: there is no 'sse9'; this machine has plain"
check [ ! -e none.mp ]
levels=$(sed -n 's/.*this machine has //p' stderr | tr -d ,)
for level in plain avx2 avx512 amx dotprod; do
    case " $levels " in
    *" $level "*)
        expect_status 0 env LAFS_CPU=$level lafs-embed --version -v >version
        has version "device cpu: cpu, $level"
        ;;
    *)
        expect_status 2 env LAFS_CPU=$level lafs-embed -q -m m.safetensors -o none.mp faces.lafs
        message "LAFS_CPU: this machine cannot use '$level'"
        expect_status 0 env LAFS_CPU=$level lafs-embed --version -v >version
        has version "device cpu: not available: LAFS_CPU"
        ;;
    esac
done
ok "a level is told, or refused"

# embeddings OUT.mp OPTION...: of faces.lafs, and beside them OUT.mp.txt, a value a line.
embeddings() {
    to=$1
    shift
    lafs-embed -q -m m.safetensors -o "$to" "$@" faces.lafs
    lafs-show --npy embedding "$to" | tail -c $((9 * 64 * 4)) | od -An -v -t f4 -w4 >"$to.txt"
}
# 1 - the lowest cosine of two such files' rows of 64
apart() {
    paste "$1.txt" "$2.txt" | awk '
        { ab += $1 * $2; aa += $1 * $1; bb += $2 * $2 }
        NR % 64 == 0 { d = 1 - ab / sqrt(aa * bb); if (d > most) most = d; ab = aa = bb = 0; rows++ }
        END { if (rows != 9) exit 1; printf "%.9f\n", most }'
}

embeddings best.mp
for level in $levels; do
    (export LAFS_CPU="$level" && embeddings "$level.mp")
    [ "$level" != plain ] || check awk "BEGIN { exit !($(apart best.mp plain.mp) < 1e-6) }"
    [ "$level" = plain ] || same best.mp "$level.mp"
done
ok "the same embeddings at every level, avx2 and wider to the bit"

for precision in fp32 bf16 bf16x3; do
    embeddings $precision.mp --precision $precision
    embeddings other.mp --precision $precision -j 3 --batch 2
    same $precision.mp.txt other.mp.txt
    for level in $levels; do
        # Of tiles the same bits are believed, not promised; plain code rounds the landmark CNN otherwise.
        case "$precision $level $levels" in fp32* | *' plain '* | *amx*) continue ;; esac
        (export LAFS_CPU="$level" && embeddings "$level.mp" --precision $precision)
        same $precision.mp.txt "$level.mp.txt"
    done
done
same best.mp.txt fp32.mp.txt
check awk "BEGIN { d = $(apart fp32.mp bf16.mp); exit !(d > 1e-8 && d < 1e-3) }"
check awk "BEGIN { d = $(apart fp32.mp bf16x3.mp); exit !(d < 1e-7) }"
lafs-show bf16.mp >shown
has shown 'precision bf16'
expect_status 2 lafs-embed -m m.safetensors --precision fp16 faces.lafs
message "'fp16' is none of fp32|bf16|bf16x3"
ok "--precision: bf16 and bf16x3 near fp32, the same bits whatever -j, --batch and level"
