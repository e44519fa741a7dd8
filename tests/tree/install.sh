#!/bin/bash
# `make install` into a DESTDIR; what is there is then used.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh
dest=$(mktemp -d "${TMPDIR:-/tmp}/lafs-install.XXXXXX")
trap 'rm -rf "$dest"' EXIT

# The variables of the `make check` that runs this count, its job server does not.
MAKEFLAGS=$(echo "${MAKEFLAGS:-}" | sed 's/ *-j[0-9]*//; s/ *--jobserver-auth=[^ ]*//') export MAKEFLAGS
root="$dest/a place/opt/lafs"
make -s --no-print-directory install DESTDIR="$dest/a place" prefix=/opt/lafs >"$dest/log" 2>&1 || {
    cat "$dest/log" >&2
    complain "make install failed"
}
programs=$(cd cmd && ls lafs-*.c 2>/dev/null | sed 's/\.c$//')
for p in $programs; do
    [ -x "$root/bin/$p" ] || complain "no $p"
    [ "$("$root/bin/$p" --version | cut -d' ' -f1)" = "$p" ] || complain "$p --version"
    [ ! -e "man/$p.1" ] || [ -s "$root/share/man/man1/$p.1" ] || complain "no page of $p"
    completion=$root/share/bash-completion/completions/$p
    bash -c '. "$1"; COMP_WORDS=("$2" --vers); COMP_CWORD=1; "_${2//-/_}"; [ "${COMPREPLY[*]}" = --version ]' - "$completion" "$p" ||
        complain "completion of $p"
done
ok "programs, pages and completions are installed"

completes() { # WANTED WORD...: what the last word, of lafs-embed's options, can become
    bash -c '. "$1"; shift 2; COMP_WORDS=(lafs-embed "$@"); COMP_CWORD=$#; _lafs_embed; echo "${COMPREPLY[*]}"' - \
        "$root/share/bash-completion/completions/lafs-embed" "$@" >"$dest/words"
    [ "$(cat "$dest/words")" = "$1" ] || complain "completion of '${*:2}': $(cat "$dest/words")"
}
completes "cpu cuda auto" --device ""
completes "bf16 bf16x3" --precision bf
completes "bf16 bf16x3" --precision = bf
completes "fp32 bf16 bf16x3" --precision =
ok "values of options are completed, behind a blank and behind ="

# What zsh makes of the line at a press of the tabulator.
cat >"$dest/complete.zsh" <<'EOF'
zmodload zsh/zpty
zpty z TERM=dumb zsh -f -i
zpty -w z "cd ${(q)1}; fpath=(${(q)2} \$fpath); autoload -U compinit; compinit -D -u"
zpty -w z 'said() { print -r -- $BUFFER >said; exit; }; zle -N said; bindkey "^X" said; bindkey "^I" complete-word'
zpty -w -n z "$3"$'\t\C-x'
while zpty -r z line; do :; done
EOF
zsh_completes() { # TYPED WANTED
    rm -f "$dest/said"
    timeout 60 zsh -f "$dest/complete.zsh" "$dest" "$root/share/zsh/site-functions" "$1" >"$dest/screen" 2>&1
    [ "$(cat "$dest/said")" = "$2" ] || complain "zsh makes of '$1': $(cat "$dest/said" "$dest/screen")"
}
if command -v zsh >/dev/null; then
    touch "$dest/model.safetensors"
    for p in $programs; do zsh_completes "$p --vers" "$p --version "; done
    zsh_completes "lafs-embed -qm model.s" "lafs-embed -qm model.safetensors "
    zsh_completes "lafs-embed -j 2 --device cu" "lafs-embed -j 2 --device cuda "
    zsh_completes "lafs-embed --precision=bf16x" "lafs-embed --precision=bf16x3 "
    zsh_completes "lafs-embed --jobs mod" "lafs-embed --jobs mod"
    ok "zsh completes options, files and values"
else
    echo "skip zsh completes options, files and values: there is no zsh"
fi

if [ -e "$LAFS_BUILD/lafs-cuda.so" ]; then
    nm -D --defined-only "$root/lib/lafs/lafs-cuda.so" | grep -q ' T lafs_plugin_ops$' || complain "no plugin"
    [ "$(nm -D --defined-only "$root/lib/lafs/lafs-cuda.so" | grep -c ' T lafs_')" = 1 ] || complain "the plugin exports more"
    ok "the CUDA plugin is installed"
else
    echo "skip the CUDA plugin is installed: it was not built"
fi

if [ -e "$LAFS_BUILD/lafs-mpi.so" ]; then
    [ "$(nm -D --defined-only "$root/lib/lafs/lafs-mpi.so" | awk '{ print $3 }')" = lafs_plugin_comm ] || complain "no MPI plugin"
    ok "the MPI plugin is installed, and exports one symbol"
else
    echo "skip the MPI plugin is installed: it was not built"
fi

# What moves with the programs is found there, whatever prefix they were built for.
for plugin in lafs-mpi.so lafs-cuda.so; do
    so=$root/lib/lafs/$plugin
    mkdir -p "${so%/*}"
    [ ! -e "$so" ] || mv "$so" "$so.kept"
    echo "no library" >"$so"
    "$root/bin/lafs-embed" --version -v >"$dest/version"
    OMPI_COMM_WORLD_SIZE=2 "$root/bin/lafs-pretrain" --landmarks grid -o "$dest/run" "$dest/none.lafs" 2>>"$dest/version" </dev/null
    grep -q "cannot load '$so'" "$dest/version" || complain "$so is not looked at: $(cat "$dest/version")"
    rm "$so"
    [ ! -e "$so.kept" ] || mv "$so.kept" "$so"
done
ok "plugins are looked for where they are installed"

at=$(make -n install PREFIX=/opt/capitals 2>/dev/null | sed -n "s,^install -d '\\(/opt/capitals/bin\\)'.*,\\1,p")
[ "$at" = /opt/capitals/bin ] || complain "PREFIX is not heeded"
at=$(make -n install prefix='~/lafs' 2>/dev/null | sed -n "s,^install -d '\\([^']*\\)/bin'.*,\\1,p")
[ "$at" = "$HOME/lafs" ] || complain "prefix=~/lafs is $at"
ok "PREFIX, and a home directory"

for f in examples/presets/*; do
    [ -e "$f" ] || continue
    [ -s "$root/share/lafs/presets/$(basename "$f")" ] || complain "no preset $f"
done
ok "presets are installed"

for f in share/models/*.safetensors; do
    [ -e "$f" ] || continue
    [ -s "$root/share/lafs/models/$(basename "$f")" ] || complain "no model $f"
done
# shellcheck disable=SC2012
weight=$(cat share/models/*.safetensors 2>/dev/null | wc -c)
[ "$weight" -lt 1000000 ] || complain "the models weigh $weight bytes"
ok "models are installed, and weigh less than 1 MB"

# The line runs from the installed tree alone, elsewhere.
if [ -x "$root/bin/lafs-synth" ] && [ -x "$root/bin/lafs-show" ]; then
    (cd "$dest" && PATH=$root/bin:/usr/bin:/bin && lafs-synth -q -n 3 --people 2 | lafs-show --count) >"$dest/count" 2>&1 ||
        complain "the installed programs fail: $(cat "$dest/count")"
    grep -qx 6 "$dest/count" || complain "lafs-show --count says: $(cat "$dest/count")"
    ok "installed programs run"
fi

# .. and the detector is found there, not in the tree.
if [ -e share/models/detector.safetensors ]; then
    (cd "$dest" && PATH=$root/bin:/usr/bin:/bin && lafs-synth -q -n 2 --people 2 | lafs-detect -q --best | lafs-show --count) \
        >"$dest/count" 2>&1 || complain "the installed lafs-detect fails: $(cat "$dest/count")"
    grep -qx 4 "$dest/count" || complain "lafs-detect, installed, finds $(cat "$dest/count") of 4 faces"
    ok "the installed detector finds faces"
else
    echo "skip the installed detector finds faces: there is none yet"
fi

# What others put beside stays: a file in a directory of lafs, and one in a shared directory.
own=("$root/share/lafs/presets/own" "$root/bin/lafs-own")
touch "${own[@]}"
uninstall() { make -s --no-print-directory uninstall DESTDIR="$dest/a place" prefix=/opt/lafs >"$dest/log" 2>&1; }
uninstall || complain "make uninstall failed: $(cat "$dest/log")"
left=$(find "$root" ! -type d | sort)
[ "$left" = "$(printf '%s\n' "${own[@]}" | sort)" ] || complain "make uninstall leaves: $left"
[ ! -e "$root/share/lafs/models" ] || complain "make uninstall leaves the directory of models"
rm "${own[@]}"
uninstall || complain "make uninstall fails where nothing is left: $(cat "$dest/log")"
[ ! -e "$root/share/lafs" ] && [ ! -e "$root/lib/lafs" ] || complain "make uninstall leaves directories of lafs"
[ -d "$root/bin" ] || complain "make uninstall removes a directory that others may use"
ok "make uninstall removes what make install put there, and nothing else"
finish
