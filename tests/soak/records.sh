#!/bin/bash
# usage: tests/soak/records.sh BUILD_DIR COUNT...
#
# So many small records, made on the fly, each time in the same little memory: through lafs-shard | lafs-show --count,
# where nothing is written to disk; from RecordIO to shards with their index; and from a stream whose keys do not ascend
# to shards. Checks the counts, prints peak resident memory and time. The shards of a record take 2.6 and 3.1 KB in TMPDIR, one set
# at a time; where there is no room for them, that is said and left out.
set -u
build=$(readlink -f "$1") || exit 1
shift
limit=${LIMIT:-300000} # KB of address space
dir=$(mktemp -d)
messages=$dir/messages
trap 'rm -rf "$dir"' EXIT
failed=0

limited() { (ulimit -v "$limit" && exec "$build/tests/soak/peak" "$1" "$build/$1" "${@:2}"); }

# verdict COUNT WHAT STATUS COUNTED
verdict() {
    verdict=ok
    if [ "$3" != 0 ] || [ "$4" != "$1" ] || ! grep -q -F "$1 records read, $1 written" "$messages"; then
        verdict=FAIL
        failed=1
        echo "exit status $3, counted '$4'; messages:"
        cat "$messages"
    fi
    echo "$verdict $2 $1 records within $limit KB of address space, in $SECONDS s"
    grep -E '^lafs-[a-z]+: [0-9.]+ MB' "$messages" | sed 's/^/    /'
}

# to_shards COUNT WHAT BYTES GENERATOR...: BYTES of shards a record
to_shards() {
    local count=$1 what=$2 need=$(($1 * $3 / 1024)) free
    shift 3
    free=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
    if [ "$need" -gt "$free" ]; then
        echo "skip $what $count records: $dir has $free KB free, $need KB are needed"
        return
    fi
    SECONDS=0
    (set -o pipefail; "$@" | limited lafs-shard --names none -o "$dir/x-%06d.tar" 2>"$messages")
    verdict "$count" "$what" $? "$(tail -n 1 "$dir/x.lafs" | cut -f 3)"
    # Nothing is left but the shards of the index.
    if [ "$(ls -A "$dir" | sed 's/-[0-9]*\.tar/.tar/' | sort -u | tr '\n' ' ')" != "messages x.lafs x.tar " ]; then
        ls -A "$dir"
        failed=1
    fi
    rm -f "$dir"/x*
}

for count in "$@"; do
    SECONDS=0
    shown=$(set -o pipefail
        "$build/tests/unit/stream" --stream "$count" | limited lafs-shard 2>"$messages" | limited lafs-show --count 2>>"$messages")
    verdict "$count" "through a pipe:" $? "$shown"
    to_shards "$count" "RecordIO to shards:" 2700 "$build/tests/soak/recset" "$count" 1
    to_shards "$count" "a stream, keys not in order, to shards:" 3300 "$build/tests/unit/stream" --stream "$count"
done
exit $failed
