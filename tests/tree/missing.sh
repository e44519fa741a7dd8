#!/bin/bash
# Where a package is missing, its name is said, not what a compiler makes of that.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/lafs-missing.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/cc" <<'EOC'
#!/bin/sh
case " $* " in *" -lmsgpackc "* | *" -lmsgpack-c "*) exit 1 ;; *) exec cc "$@" ;; esac
EOC
chmod +x "$work/cc"
named() { # GOAL...
    MAKEFLAGS='' make --no-print-directory CC="$work/cc" NVCC=no MPICC=no "$@" >"$work/said" 2>&1 &&
        complain "make $* has built without msgpack-c"
    [ "$(head -n 1 "$work/said")" = "missing packages (Debian's names): libmsgpack-dev" ] ||
        complain "make $* says: $(head -n 5 "$work/said")"
}
named all
named DEPS=no demo
ok "a package that is missing is named"

# A compiler that has just been installed is asked what it compiles for, as one that was there.
if [ -e /etc/debian_version ]; then
    mkdir "$work/bin"
    printf '#!/bin/sh\nexec "$@"\n' >"$work/bin/sudo"
    printf '#!/bin/sh\nprintf "#!/bin/sh\\nexec cc \\"\\$@\\"\\n" >"%s/new-cc"\nchmod +x "%s/new-cc"\n' \
        "$work/bin" "$work/bin" >"$work/bin/apt-get"
    chmod +x "$work/bin"/*
    PATH=$work/bin:$PATH MAKEFLAGS='' make --no-print-directory CC=new-cc NVCC=no MPICC=no DEPS=yes \
        --eval='machine: ; @echo machine $(MACHINE)' deps machine >"$work/said" 2>&1 || complain "a missing compiler is not installed"
    grep -q '^installing: gcc' "$work/said" && [ "$(tail -n 1 "$work/said")" = "machine $(cc -dumpmachine | cut -d- -f1)" ] ||
        complain "make deps with a missing compiler says: $(head -n 5 "$work/said")"
    ok "a compiler is installed before it is asked anything"
else
    skip missing "nothing is installed but on Debian"
fi

# Of another processor's it is no fault that they are missing.
sed 's/-lmsgpackc/-lpng/; s/-lmsgpack-c/-lpng16/' "$work/cc" >"$work/arm64-gcc"
chmod +x "$work/arm64-gcc"
for arm64 in "$work/arm64" "$work/none"; do
    env -u TEST_TALLY MAKEFLAGS='' make --no-print-directory CC=cc NVCC=no MPICC=no DEPS=no PROGRAMS= ARM64="$arm64" \
        check-arm64 >"$work/said" 2>&1 || complain "make check-arm64 fails without a compiler or libraries"
    [ "$(tail -n 1 "$work/said")" = "0 passed, 0 failed, 1 skipped" ] ||
        complain "make check-arm64 says: $(head -n 5 "$work/said")"
done
ok "without what arm64 needs its tests are skipped"
finish
