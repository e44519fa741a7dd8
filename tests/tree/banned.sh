#!/bin/bash
# Functions that invite errors stand nowhere; the library neither prints nor exits nor handles signals; style.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh

code() { ${CC:-cc} -fpreprocessed -dD -E -P "$1" 2>/dev/null | sed 's/"\([^"\\]\|\\.\)*"/""/g'; } # no comments, no strings

# CC may be several words, as "ccache cc"; where it runs at all, it leaves something of a file.
[ -n "$(code lib/base/err.c)" ] || complain "'${CC:-cc}' does not take comments out: nothing can be found"

everywhere='strcpy|stpcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atoll|atof|system|popen|strtok|asctime|ctime|localtime|gmtime|rand|srand|random|drand48|setlocale|alloca|tmpnam|tempnam|mktemp|strerror|perror|assert'
library='printf|puts|putchar|vprintf|exit|_exit|_Exit|quick_exit|abort|signal|sigaction|sigprocmask|raise|atexit|getenv_'
sources=$(ls lib/*/*.[ch] kernels/*/*.[ch] cmd/*.[ch] 2>/dev/null)
for f in $sources; do
    found=$(code "$f" | grep -noE "(^|[^A-Za-z0-9_.>])($everywhere) *\(" | grep -oE "($everywhere)" | sort -u | tr '\n' ' ')
    [ -z "$found" ] || complain "$f calls $found"
done
for f in $sources; do # libjpeg and libpng report errors by longjmp
    case "$f" in lib/image/jpeg.c | lib/image/png.c) continue ;; esac
    ! code "$f" | grep -qE '\<(_?setjmp|sigsetjmp|(sig)?longjmp) *\(' || complain "$f calls longjmp"
done
ok "banned functions"

for f in $(ls lib/*/*.c kernels/*/*.c); do
    found=$(code "$f" | grep -oE "(^|[^A-Za-z0-9_.>])($library) *\(|\<(stdout|stderr)\>" | tr -d ' (\n')
    [ -z "$found" ] || complain "$f prints, exits or handles signals: $found"
done
ok "the library neither prints nor exits"

for f in $sources kernels/cuda/*.cu* tests/*.h tests/*/*.[ch] tests/*/*.cc; do
    case "$f" in
    tests/*) width=240 ;; # a table of cases may be wide
    *) width=120 ;;
    esac
    awk -v f="$f" -v width=$width '
        length($0) > width { print f ":" NR ": longer than " width; bad = 1 }
        /\t/ { print f ":" NR ": tab"; bad = 1 }
        /[ \r]$/ { print f ":" NR ": space at the end"; bad = 1 }
        /^\{/ { start = NR }
        /^\}/ && start { if (NR - start - 1 > 110) { print f ":" start ": a function of " NR - start - 1 " lines"; bad = 1 } start = 0 }
        /TODO|FIXME|XXX/ && !/XXXXXX/ { print f ":" NR ": unfinished"; bad = 1 }
        END { exit bad }' "$f" >&2 || complain "$f: style"
done
ok "style of C files"

grep -n 'ffast-math' Makefile kernels/*/* -r 2>/dev/null | grep -v 'never' >&2 && complain "-ffast-math"
ok "no fast math"

# awk, printf and sort take a decimal comma where the language has one.
for f in $(ls examples/*.mk examples/*/Makefile); do
    grep -qx 'export LC_ALL := C' "$f" || complain "$f leaves LC_ALL as it is"
done
ok "numbers of the examples"
finish
