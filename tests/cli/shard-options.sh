#!/bin/sh
# --shard-samples and --shard-bytes: the same in every program that writes shards, and no record changes by them.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained

# sharded NAME CMD...: CMD writes the same records in shards of four, and in shards of few bytes
sharded() {
    name=$1
    shift
    "$@" -q -o "$name.tar"
    lafs-shard -q "$name.lafs" >want.mp
    expect_status 0 "$@" -q -o "$name-%d.tar" --shard-samples 4
    check [ "$(echo "$name"-*.tar)" = "$name-0.tar $name-1.tar $name-2.tar" ]
    check [ "$(lafs-show --count "$name-0.tar" "$name-1.tar")" = 8 ]
    lafs-shard -q "$name.lafs" >again.mp
    same again.mp want.mp
    expect_status 0 "$@" -q -o "$name-%d.tar" --shard-bytes 24000
    check [ -e "$name-3.tar" ]
    for shard in "$name"-*.tar; do # one record may be larger
        check [ "$(wc -c <"$shard")" -le 24000 -o "$(lafs-show --count "$shard")" = 1 ]
    done
    lafs-shard -q "$name.lafs" >again.mp
    same again.mp want.mp
    expect_status 2 "$@" -q -o "$name.tar" --shard-samples 4
    message "--shard-samples and --shard-bytes go with -o NAME-%06d.tar"
    ok "shards of $name"
}
sharded synth lafs-synth --people 3 -n 3
sharded detect lafs-detect --best synth.lafs
sharded augment lafs-augment --render faces.lafs
sharded landmark lafs-landmark -m m.safetensors faces.lafs
sharded patch lafs-patch --grid faces.lafs
sharded embed lafs-embed --baseline pixel faces.lafs
sharded shard lafs-shard faces.lafs
