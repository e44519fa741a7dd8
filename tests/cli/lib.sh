# Sourced by the tests of programs: `set -eu; . "$(dirname "$0")/lib.sh"`. Puts the built programs on PATH and changes
# into a fresh directory, removed at the end. A check is: commands, then `ok "what was checked"`.
#
#   expect_status N CMD...   runs CMD; its stderr goes to ./stderr, its stdout where you redirect it; fails unless it exits N
#   has FILE TEXT            FILE contains TEXT (no pattern)
#   hasnt FILE TEXT
#   message TEXT             the stderr of the last expect_status contains TEXT
#   same A B                 two files are equal
#   check CMD...             CMD succeeds
#   ok NAME                  prints `ok NAME`, or `FAIL NAME` if anything since the last `ok` failed
#   skip NAME WHY
#
# None of them stops the script; anything else that fails does (set -e), and counts as a failure.

TOP=$(cd "$(dirname "$0")/../.." && pwd)
LAFS_BIN=${LAFS_BIN:-$TOP/bin}
PATH=$LAFS_BIN:$PATH
LC_ALL=C
export PATH LC_ALL TOP
unset LAFS_BACKEND_PATH

check_failed_=0
script_failed_=0
checks_=0
work_=$(mktemp -d "${TMPDIR:-/tmp}/lafs-test.XXXXXX")
trap 'leave_ $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work_"

leave_() {
    trap - EXIT
    cd /
    chmod -R u+rwx "$work_" 2>/dev/null || true
    rm -rf "$work_"
    if [ "$1" -ne 0 ]; then echo "FAIL $(basename "$0" .sh) stopped with status $1"; exit 1; fi
    if [ "$checks_" -eq 0 ]; then echo "FAIL $(basename "$0" .sh) checked nothing"; exit 1; fi
    if [ "$check_failed_" -ne 0 ]; then echo "FAIL $(basename "$0" .sh) behind its last ok"; exit 1; fi
    exit "$script_failed_"
}

fail_() {
    echo "$(basename "$0"): $*" >&2
    check_failed_=1
}

expect_status() {
    want_=$1
    shift
    status_=0
    "$@" 2>stderr || status_=$?
    if [ "$status_" -ne "$want_" ]; then
        fail_ "exit status $status_, not $want_: $*"
        sed 's/^/    /' stderr >&2
    fi
}

has() {
    if ! grep -a -q -F -e "$2" "$1"; then
        fail_ "'$2' is not in $1:"
        head -c 2000 "$1" | sed 's/^/    /' >&2
    fi
}

hasnt() {
    if [ ! -e "$1" ]; then fail_ "there is no $1"
    elif grep -a -q -F -e "$2" "$1"; then fail_ "'$2' is in $1"; fi
}

message() { has stderr "$1"; }

same() { cmp "$1" "$2" >&2 || fail_ "$1 and $2 differ"; }

check() { "$@" || fail_ "failed: $*"; }

ok() {
    checks_=$((checks_ + 1))
    if [ "$check_failed_" -eq 0 ]; then
        echo "ok $1"
    else
        echo "FAIL $1"
        script_failed_=1
        check_failed_=0
    fi
}

skip() {
    checks_=$((checks_ + 1))
    echo "skip $1: $2"
}
