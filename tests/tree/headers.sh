#!/bin/bash
# Each header compiles alone; those for CUDA also as C++.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
cc=${CC:-cc}

for h in lib/*/*.h kernels/*/*.h cmd/*.h tests/*.h tests/golden/*.h tests/ops/*.h; do
    [ -e "$h" ] || continue
    $cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused -Wno-missing-field-initializers -Werror -fsyntax-only -I. -Ilib -x c "$h" \
        -Wno-pragma-once-outside-header || complain "$h does not compile alone"
    grep -q '^#ifndef LAFS_' "$h" || complain "$h has no include guard LAFS_.."
done
ok "headers compile alone"

if command -v c++ >/dev/null; then
    for h in $(grep -l __cplusplus lib/*/*.h kernels/*/*.h 2>/dev/null); do
        c++ -std=c++14 -fsyntax-only -I. -Ilib -x c++ "$h" || complain "$h does not compile as C++"
    done
    ok "headers for CUDA compile as C++"
else
    echo "skip headers for CUDA compile as C++: no C++ compiler"
fi
finish
