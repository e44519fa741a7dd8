#!/bin/bash
# Runs the examples of every manual page: the lines that begin with "$ ", continued by "> ", of the EXAMPLES sections.
# Each page has a fresh directory of its own, prepared once by prepare.sh.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
export PATH=$LAFS_BIN:$PATH LC_ALL=C
work=$(mktemp -d "${TMPDIR:-/tmp}/lafs-man.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

[ -e cmd/lafs-synth.c ] || { echo "skip examples: there is no lafs-synth"; exit 0; }
mkdir "$work/prepared"
if ! bash tests/man/prepare.sh "$work/prepared" >"$work/log" 2>&1; then
    sed 's/^/    /' "$work/log" >&2
    echo "FAIL preparation of the examples"
    exit 1
fi

commands_of() {
    mandoc -T ascii -O width=1000 "$1" | sed 's/.\x08//g' |
        awk '/^[A-Z]/ { on = /^EXAMPLES/ } on' | sed -nE 's/^ +\$ (.*)/\1/p; s/^ +> (.*)/\1/p'
}
for page in man/*.[1-9]; do
    [ -e "$page" ] || continue
    name=$(basename "$page")
    commands_of "$page" >"$work/$name.sh"
    if [ ! -s "$work/$name.sh" ]; then
        case "$name" in lafs-*.1) complain "$page has no examples"; ok "examples of $name" ;; esac
        continue
    fi
    cp -a "$work/prepared" "$work/here"
    (cd "$work/here" && timeout 300 sh -e -x "$work/$name.sh") >"$work/log" 2>&1 </dev/null || {
        tail -c 3000 "$work/log" | sed 's/^/    /' >&2
        complain "an example of $page failed"
    }
    chmod -R u+w "$work/here"
    rm -rf "$work/here"
    ok "examples of $name"
done
finish
