# Sourced by tests/inject/*.sh after tests/cli/lib.sh: makes the N-th call of each kind fail, for many N.
#
#   inject NAME MAX CMD...   CMD writes into ./out/ (made and emptied by inject). It must work without failures. With one:
#                            exit 0 and the same files (logs, which hold times, aside), or exit 1 with a message, nothing half written and no index.
#                            At most MAX failures of each kind are tried, spread over the run.
# LD_PRELOAD ends names at blanks.
ln -s "$LAFS_BUILD/tests/inject/shim.so" shim.so
SHIM=$PWD/shim.so

# Runs with environment $1; leaves status_, ./out and ./stderr.
injected_() {
    chmod -R u+w out 2>/dev/null || true
    rm -rf out
    mkdir out
    env_=$1
    shift
    status_=0
    timeout 60 env LD_PRELOAD="$SHIM" $env_ "$@" >out/stdout 2>stderr || status_=$?
}

clean_failure_() { # WHAT
    [ "$status_" -ge 1 ] && [ "$status_" -le 3 ] || fail_ "$1: exit status $status_: $(tail -c 300 stderr)"
    [ -s stderr ] || fail_ "$1: exit status $status_ without a message"
    left_=$(find out -name '*.tmp-*')
    # After a failed fsync of the directory the index is there, and whole.
    case "$1" in fsync*) ;; *) left_=$left_$(find out -name '*.lafs') ;; esac
    [ -z "$left_" ] || fail_ "$1: left behind: $left_"
}

inject() {
    name_=$1 max_=$2
    shift 2
    rm -f count
    injected_ "LAFS_FAIL_COUNT=$PWD/count" "$@"
    [ "$status_" -eq 0 ] || { fail_ "without failures: exit status $status_: $(cat stderr)"; ok "$name_"; return; }
    rm -rf want
    mv out want
    for kind_ in alloc write fsync rename short; do
        calls_=$(awk -v k=$kind_ '$1 == k { print $2 }' count)
        [ $kind_ = short ] && [ "$calls_" -gt 0 ] && calls_=1
        n_=1
        while [ "$n_" -le "$calls_" ]; do
            injected_ LAFS_FAIL=$kind_:$n_ "$@"
            if [ "$status_" -eq 0 ]; then diff -r -x log.jsonl want out >&2 || fail_ "$kind_ $n_: exit status 0, but other output"
            else
                clean_failure_ "$kind_ $n_"
                [ $kind_ != short ] || fail_ "short writes: exit status $status_"
            fi
            step_=$(((calls_ - n_) / max_ + 1))
            n_=$((n_ + (n_ <= 5 ? 1 : step_)))
        done
        ok "$name_: $kind_, $calls_ calls"
    done
}
