#!/bin/sh
# An input that the output would replace is refused, by name, before anything is written.
set -eu
. "$(dirname "$0")/lib.sh"

for i in 1 2 3; do
    mkdir -p "d/ann" "d/bob"
    printf '\377\330\377 %s' "$i" | tee "d/ann/$i.jpg" >"d/bob/$i.jpg"
done
lafs-shard -q -o x-%06d.tar --shard-samples 2 d
mkdir other links
cp x.lafs x-*.tar other
list() { ls -AlR --time-style=full-iso --ignore=before --ignore=stderr --ignore=after; }
list >before

# refused TEXT ARGS...: exit status 2, the message, and nothing has changed
refused() {
    text=$1
    shift
    expect_status 2 lafs-shard "$@" --rejects rejects --log log
    message "lafs-shard: $text"
    list >after
    same before after
}

refused "the input 'x.lafs' would be replaced by the output 'x-%06d.tar'" x.lafs -o x-%06d.tar
refused "the input './x.lafs' would be replaced by the output '$PWD/x.tar'" ./x.lafs -o "$PWD/x.tar"
refused "the input 'x-000001.tar' would be" other/x.lafs x-000001.tar -o x-%06d.tar
refused "the input 'x-000000.tar' would be" x-000000.tar -o x-000000.tar
refused "the input 'x.lafs' would be" --list x.lafs -o x-%06d.tar
expect_status 2 lafs-shard -o x-%06d.tar <x-000002.tar
message "the file on standard input would be replaced by the output 'x-%06d.tar'"
ok "an index, a shard, standard input, a list"

lafs-select -q --hash 1:0 -o links/few.lafs x.lafs
list >before
refused "'links/../x-000000.tar', a shard of the input 'links/few.lafs', would be replaced by the output 'x-%06d.tar'" \
    links/few.lafs -o x-%06d.tar
refused "'x-000000.tar', a shard of the input 'x.lafs', would be" x.lafs -o x-000%03d.tar
ok "a shard that an input index names"

ln -s ../x.lafs links/soft.lafs
ln x-000001.tar links/hard.tar
ln -s ../other/x-000000.tar links/y-7.tar
list >before
refused "the input 'links/soft.lafs' would be" links/soft.lafs -o x-%06d.tar
refused "the input 'links/hard.tar' would be" links/hard.tar -o x-%06d.tar
refused "the input 'other/x-000000.tar' would be" other/x-000000.tar -o links/y-%d.tar
ok "by symbolic and hard links"

lafs-shard -q -o s d
list >before
refused "the input 's' would be replaced by the output 's'" s -o s
expect_status 2 lafs-shard s >>s
message "the input 's' would be replaced by standard output"
list >after
same before after
ok "a stream"

for log in --rejects --log; do
    expect_status 2 lafs-shard -q -o fresh s $log s
    message "the input 's' would be replaced by the output 's'"
    expect_status 2 lafs-shard -q -o fresh other/x.lafs $log other/x-000001.tar
    message "would be replaced by the output 'other/x-000001.tar'"
done
expect_status 2 lafs-show --rejects s s
message "the input 's' would be replaced by the output 's'"
expect_status 2 lafs-show --rejects x.lafs --count <x.lafs
message "the file on standard input would be replaced by the output 'x.lafs'"
expect_status 2 lafs-shard -q -o fresh --log fresh s
message "--output and --log are one file: 'fresh'"
ln -s . another
for log in ./fresh "$PWD/fresh" another/fresh; do
    expect_status 2 lafs-shard -q -o fresh --log $log s
    message "--output and --log are one file: '$log'"
done
rm another
expect_status 0 lafs-shard -q -o /dev/null --log /dev/null --rejects /dev/null s
list >after
same before after
ok "by --rejects and --log"

expect_status 0 lafs-shard -q other/x.lafs -o x-%06d.tar --shard-samples 2
check test "$(lafs-show --count x.lafs)" = 6
expect_status 0 lafs-shard -q x.lafs -o z-%06d.tar
expect_status 0 lafs-shard -q x.lafs -o links/x-%06d.tar
ok "what is no input may be replaced"
