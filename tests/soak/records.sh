#!/bin/bash
# usage: tests/soak/records.sh BUILD_DIR COUNT...
#
# So many small records, made on the fly, through lafs-shard | lafs-show --count, each in the same little memory: checks
# the counts, prints peak resident memory and time. Nothing is written to disk.
set -u
build=$(readlink -f "$1") || exit 1
shift
limit=${LIMIT:-300000} # KB of address space
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
failed=0

limited() { (ulimit -v "$limit" && exec "$build/tests/soak/peak" "$1" "$build/$1" "${@:2}"); }

for count in "$@"; do
    SECONDS=0
    shown=$(set -o pipefail
        "$build/tests/unit/stream" --stream "$count" | limited lafs-shard 2>"$messages" | limited lafs-show --count 2>>"$messages")
    status=$?
    verdict=ok
    if [ "$status" != 0 ] || [ "$shown" != "$count" ] || ! grep -q -F "$count records read, $count written" "$messages"; then
        verdict=FAIL
        failed=1
        echo "exit status $status, lafs-show --count says '$shown'; messages:"
        cat "$messages"
    fi
    echo "$verdict $count records within $limit KB of address space, in $SECONDS s"
    grep -E '^lafs-[a-z]+: [0-9.]+ MB' "$messages" | sed 's/^/    /'
done
exit $failed
