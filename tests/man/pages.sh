#!/bin/bash
# Every program has a page; pages are clean for mandoc; page and --help list the same options.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh

for page in man/*.[1-9]; do
    [ -e "$page" ] || continue
    found=$(mandoc -T lint -W warning "$page" 2>&1 | grep -v 'referenced manual not found')
    [ -z "$found" ] || complain "$found"
    awk -v f="$page" 'length($0) > 400 { print f ":" NR ": a very long line"; bad = 1 } END { exit bad }' "$page" >&2 || complain "$page"
    found=$(grep -nE '^\.(Li|Dl|D1|Ql) .*"' "$page")
    [ -z "$found" ] || complain "$page: a macro takes quotes away; write \\(dq: $found"
done
ok "pages are clean"

# "x long" or "- long" per option of --help (x: the short name).
options_of_help() { "$1" --help | sed -nE 's/^  (-(.), |    )--([a-z0-9-]+).*/\2 \3/p' | sed 's/^ /- /' | sort; }
# The same from the lines `.It Fl o , Fl -output Ar FILE` (or `.It Fl o , -output Ar FILE`) of a page.
options_of_page() {
    sed -n 's/\\-/-/g; s/\\&//g; s/^\.It Fl /Fl /p' "$1" | awk '{
        short = "-"; flag = 0
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^[A-Z][a-z]$/) flag = $i == "Fl"
            else if (flag && $i ~ /^-/) { print short, substr($i, 2); short = "-" }
            else if (flag && length($i) == 1 && $i != ",") short = $i
        }
    }' | sort
}
for p in cmd/lafs-*.c; do
    [ -e "$p" ] || continue
    name=$(basename "$p" .c)
    page=man/$name.1
    [ -e "$page" ] || { complain "$page is missing"; continue; }
    differ=$(diff <(options_of_help "$LAFS_BIN/$name") <(options_of_page "$page"))
    [ -z "$differ" ] || complain "$name: --help (<) and the page (>) differ:"$'\n'"$differ"
    for section in NAME SYNOPSIS DESCRIPTION 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
        grep -qE "^\.Sh \"?$section" "$page" || complain "$page has no section $section"
    done
done
ok "options of pages and programs agree"
finish
