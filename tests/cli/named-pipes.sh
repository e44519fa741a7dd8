#!/bin/sh
# Inputs by the name of a pipe, as the shell's <(..) and /dev/stdin give: read once, or refused, but never half.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained
mkfifo pipe

# through FILE COMMAND...: the command, while FILE comes through ./pipe
through() { file_=$1; shift; cat "$file_" >pipe 2>cat.said & "$@"; wait; }
refused() { # FILE TEXT COMMAND...
    file_=$1 text_=$2
    shift 2
    through "$file_" expect_status 1 "$@"
    message "$text_"
}

lafs-shard -q -o copy.stream faces.lafs
lafs-shard -q -o copy-%06d.tar --shard-samples 3 faces.lafs
count=$(lafs-show --count faces.lafs)
for f in copy.stream copy-000000.tar; do
    for mode in --count --json; do
        through "$f" expect_status 0 lafs-show $mode pipe >got
        lafs-show $mode "$f" >want
        same got want
    done
    through "$f" expect_status 0 lafs-show pipe >got
    check [ "$(wc -l <got)" -gt 3 ]
done
ok "lafs-show looks at a stream and a shard that come through a pipe with a name"

refused faces.lafs "an index cannot come from a pipe: its shards lie beside its file" lafs-show --count pipe
refused faces.lafs "'pipe' is no file, and an index or a tar is read here and there: give a file" lafs-select -o never.lafs pipe
refused copy-000000.tar "'pipe' is no file" lafs-finetune --size xs -o never pipe
refused m.safetensors "'pipe' gives its bytes once, and they are needed twice: give a file" lafs-embed -m pipe -o never.stream faces.lafs
check [ "$(echo never*)" = 'never*' ]
ok "what is read more than once is refused by the name of a pipe, and the reason is said"

lafs-select -q --pairs pairs.txt -o all.lafs faces.lafs
lafs-embed -q --baseline pixel -o e.stream faces.lafs
expect_status 0 lafs-verify --json --pairs pairs.txt e.stream >want
through pairs.txt expect_status 0 lafs-verify --json --pairs pipe e.stream >got
same got want
refused pairs.txt "'pipe' gives its bytes once" lafs-verify --json --scores --pairs pipe e.stream
ok "pairs come through one, too, unless their digest is wanted"
check [ "$count" -gt 3 ]
