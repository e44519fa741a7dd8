#!/bin/sh
# tests/gpu/check, which only machines with a GPU run to the end, on the simulated one, in small; and what it says where it
# cannot be run.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/gpu/lib.sh"
sim=$LAFS_BIN/tests/cuda/sim

printf '%s\n' 1 -2 0.5e-1 >want
printf '%s\n' 1.01 -2 0.05 >near
printf '%s\n' 1.01 nan 0.05 >bad
printf '%s\n' 1 -2 >short
expect_status 0 within 0.006 3 want near
for wrong in "0.004 3 want near" "0.006 2 want near" "0.006 3 want bad" "1 3 want short" "1 3 bad want" "1 0 /dev/null /dev/null"; do
    # shellcheck disable=SC2086
    expect_status 1 within $wrong
done
ok "numbers that are too far apart, too few, or none"

expect_status 1 env LAFS_BACKEND_PATH="$sim" "$TOP/tests/gpu/check" "$LAFS_BIN"
message "that is the simulated GPU"
expect_status 1 env LAFS_BACKEND_PATH="$PWD" "$TOP/tests/gpu/check" "$LAFS_BIN"
message "there is no $PWD/lafs-cuda.so"
ok "no GPU is what is no GPU"

if [ -n "${SAN:-}" ]; then
    skip "the check of a GPU, on the simulated one" "with sanitizers it takes minutes, and its ops and programs have tests of their own"
    exit 0
fi
expect_status 0 env LAFS_GPU_CHECK=sim LAFS_BACKEND_PATH="$sim" "$TOP/tests/gpu/check" "$LAFS_BIN" >said
cat stderr >&2
sed 's/^/# /' said
check [ "$(grep -c '^ok ' said)" = 14 ]
hasnt said FAIL
ok "the check of a GPU, on the simulated one"
