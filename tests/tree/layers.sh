#!/bin/bash
# Includes go downward only; each third-party header is included by one file; kernels see compute/backend.h only.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh

# What each layer may include, itself aside.
declare -A below=(
    [base]="" [format]="base" [image]="base" [synth]="base image format"
    [data]="base format image" [compute]="base format image data" [model]="base format image data compute"
    [train]="base format image data compute model" [eval]="base format image data compute model")

# The quoted includes of a file, as paths from lib/ or from the top.
includes() { sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$1"; }

for f in lib/*/*.[ch]; do
    layer=$(basename "$(dirname "$f")")
    [ -n "${below[$layer]+known}" ] || { complain "$f: layer '$layer' is not in the list of this test"; continue; }
    for inc in $(includes "$f"); do
        to=${inc%%/*}
        [ "$to" = "$inc" ] && to=$layer
        case " ${below[$layer]} $layer " in
        *" $to "*) ;;
        *) complain "$f: layer $layer must not include \"$inc\"" ;;
        esac
    done
done
ok "includes of lib go downward"

allowed="compute/backend.h base/isa.h base/mem.h $(includes lib/compute/backend.h | tr '\n' ' ')"
for f in kernels/*/*.[ch]; do
    for inc in $(includes "$f"); do
        case " $allowed " in *" $inc "*) continue ;; esac
        case "$f $inc" in "kernels/mpi/comm.c compute/comm.h") continue ;; esac # a plugin of its own, for another table
        case "$inc" in
        kernels/*) ;;
        */*) complain "$f: kernels must not include \"$inc\"" ;;
        esac
    done
done
for f in kernels/cuda/*; do
    for inc in $(includes "$f"); do
        case "$f $inc" in *.cu\ kernels/cuda/dev.cuh | */dev.cuh\ compute/backend.h) ;; *) complain "$f: must not include \"$inc\"" ;; esac
    done
done
ok "kernels see the op table only"

once() { # HEADER FILE
    local found
    found=$(grep -lE "^[ \t]*#[ \t]*include[ \t]*<$1>" -r lib kernels cmd --include='*.[ch]' --include='*.cu' --include='*.cuh' | sort | tr '\n' ' ')
    case "$found" in "$2 " | "") ;; *) complain "<$1> belongs in $2 only, is in: $found" ;; esac
}
once 'archive(_entry)?\.h' lib/format/archive.c
once 'j(peglib|error)\.h' lib/image/jpeg.c
once 'png\.h' lib/image/png.c
once 'msgpack.*' lib/data/record.c
once 'cuda.*' kernels/cuda/dev.cuh
once 'mpi\.h' kernels/mpi/comm.c
once 'nccl\.h' kernels/cuda/link.cu
once 'cublas.*' kernels/cuda/product.cu
ok "each third-party header is included by one file"

known='archive|archive_entry|jpeglib|jerror|png|msgpack|mpi'
std='assert|complex|ctype|errno|fenv|float|inttypes|limits|locale|math|setjmp|signal|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|time|dirent|dlfcn|fcntl|ftw|glob|libgen|poll|pthread|sched|unistd|sys/[a-z]*|immintrin|cpuid|linux/[a-z]*|arpa/inet|arm_neon|sanitizer/asan_interface'
for f in lib/*/*.[ch] kernels/*/*.[ch] cmd/*.[ch]; do
    [ -e "$f" ] || continue
    bad=$(sed -n 's/^[ \t]*#[ \t]*include[ \t]*<\([^>]*\)\.h>.*/\1/p' "$f" | grep -vxE "$known|$std")
    [ -z "$bad" ] || complain "$f: unknown system header: $bad"
done
ok "no other third-party header"
finish
