#!/bin/bash
# Every kernel of kernels/cuda against the reference, on the simulated GPU, by the op tests themselves; a kernel that none
# of them launched fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
launches=$(mktemp "${TMPDIR:-/tmp}/lafs-launches.XXXXXX")
trap 'rm -f "$launches" "$launches".log' EXIT
export LAFS_BACKEND_PATH=$LAFS_BUILD/tests/cuda/sim LAFS_TEST_CUDA=sim LAFS_SIM_LAUNCHES=$launches
# Races are looked for, and threads take turns in another order than elsewhere.
export LAFS_SIM_RACES=yes LAFS_SIM_ORDER=${LAFS_SIM_ORDER:-1}

for t in elementwise linear transformer images loss; do
    "$LAFS_BUILD/tests/ops/$t" >"$launches.log" 2>&1 || { cat "$launches.log" >&2; complain "$t"; }
    grep -q 'simulated GPU' "$launches.log" || complain "$t did not run on the simulated GPU"
    ok "kernels behind tests/ops/$t.c"
done

# Compute capability 8.6, 8.9 and 12.0, those that people have at home.
LAFS_SIM_SHARED=99 "$LAFS_BUILD/tests/ops/transformer" >"$launches.log" 2>&1 ||
    { cat "$launches.log" >&2; complain "transformer with little shared memory"; }
ok "kernels behind tests/ops/transformer.c with 99 KiB of shared memory"

env -u LAFS_SIM_RACES "$LAFS_BUILD/tests/gpu/recording" >"$launches.log" 2>&1 ||
    { cat "$launches.log" >&2; complain "recording"; }
[ "$(grep -c '^ok ' "$launches.log")" = 7 ] || complain "not all of tests/gpu/recording.c ran"
ok "what is recorded is replayed"

# Barriers that do not count make races of what is none. (Under a sanitizer none is seen.)
if [ -z "${SAN:-}" ]; then
    LAFS_SIM_RACES=blind "$LAFS_BUILD/tests/ops/loss" >"$launches.log" 2>&1 && complain "races were not seen"
    grep -q 'a race: no barrier between' "$launches.log" || complain "races are not told: $(tail -n 1 "$launches.log")"
    ok "races are seen"
fi

# KERNEL or KERNEL_FOR(..) name(..), a line's beginning or behind template <..>; those over the precision of products run
# in each (where shared memory is tight, in those that need much), those over what is stored on both, those over weights of
# K x K, or over V channels of a thread, of each.
kernels=$(sed -n 's/^\(template <[^>]*> \)\{0,1\}KERNEL\(_FOR([^)]*)\)\{0,1\} \([a-z0-9_]*\)(.*/\3/p' kernels/cuda/*.cu)
[ "$(grep -Ew 'KERNEL(_FOR)?' kernels/cuda/*.cu | wc -l)" = "$(echo "$kernels" | wc -w)" ] ||
    complain "a kernel is written so that this test does not see it"
[ -n "$kernels" ] || complain "no kernels"
by_precision=$(grep -A1 '^template <int P>' kernels/cuda/*.cu)
by_type=$(grep -A1 '^template <class T>' kernels/cuda/*.cu | sed 's/KERNEL_FOR([^)]*)/KERNEL/')
by_taps=$(grep '^template <int K, int V>' kernels/cuda/*.cu) by_width=$(grep '^template <int V>' kernels/cuda/*.cu)
for kernel in $kernels; do
    case $kernel:$by_precision in
    *_tight_kernel:*) launched="<LAFS_PRECISION_FP32> <LAFS_PRECISION_BF16X3>" ;;
    *"KERNEL $kernel("*)
        launched="<LAFS_PRECISION_FP32> <LAFS_PRECISION_BF16> <LAFS_PRECISION_BF16X3> <STORED_BF16>"
        ;;
    *)
        case $by_type in
        *"KERNEL $kernel("*) launched="<float> <lafs_bf16>" ;;
        *)
            case $by_taps in
            *"KERNEL $kernel("*) launched="<3,4> <3,1> <5,2> <5,1>" ;;
            *)
                case $by_width in
                *"KERNEL $kernel("*) launched="<4> <1>" ;;
                *) launched=- ;;
                esac
                ;;
            esac
            ;;
        esac
        ;;
    esac
    for l in $launched; do grep -qx "$kernel${l#-}" "$launches" || complain "kernel $kernel${l#-} was never launched"; done
done
ok "every kernel was launched"
finish
