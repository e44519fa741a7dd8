#!/bin/sh
# lafs-convert: listing, choosing, renaming, metadata; files that are no models; misuse.
set -eu
. "$(dirname "$0")/lib.sh"
vit=$TOP/tests/golden/data/vit.safetensors
onnx=$TOP/tests/fuzz/corpus/onnx/two-nodes

expect_status 0 lafs-convert --list "$vit" >list
has list '# format: safetensors'
has list '# what: ViT on patch tokens'
tab=$(printf '\t')
has list "embedding196${tab}F32${tab}2,96"
expect_status 0 lafs-convert --list - <"$vit" >piped
sed 's,^# file:.*,,' list >a
sed 's,^# file:.*,,' piped >b
same a b
ok "lists a file, and standard input"

expect_status 0 lafs-convert -o copy.safetensors "$vit"
expect_status 0 lafs-convert --list copy.safetensors >copied
grep -v '^# file\|^# sha256' list >a
grep -v '^# file\|^# sha256' copied >b
same a b
expect_status 0 lafs-convert -o again.safetensors "$vit"
same copy.safetensors again.safetensors
ok "copies tensors and metadata, the same bytes each time"

expect_status 0 lafs-convert -o part.safetensors --select embedding --drop embedding36 --drop embedding_ --rename embedding=x.y --rename embedding196=never \
    --set licence=MIT --set "what=other = thing" --unset config "$vit"
expect_status 0 lafs-convert --list part.safetensors >out
has out "x.y196${tab}F32${tab}2,96"
has out '# tensors: 1'
has out '# licence: MIT'
has out '# what: other = thing'
hasnt out '# config'
ok "chooses, renames, edits metadata"

# A header of 33,000 entries and no tensor: its length in eight bytes, then that many.
{ printf '{"__metadata__":{"k":""'; seq 100000 132999 | sed 's/.*/,"&":"v"/' | tr -d '\n'; printf '}}'; } >json
{ printf '\%03o' $(($(wc -c <json) % 256)) $(($(wc -c <json) / 256 % 256)) $(($(wc -c <json) / 65536)) 0 0 0 0 0 | xargs -0 printf; cat json; } >metas
expect_status 1 lafs-convert --list metas
message "'metas': more than 4096 entries of metadata"
ok "much metadata is refused, not compared entry by entry"

expect_status 1 lafs-convert -o none.safetensors --select nothing "$vit"
message "none of its"
expect_status 1 lafs-convert -o none.safetensors --rename embedding196=embedding36 "$vit"
message "two tensors are called 'embedding36'"
check test ! -e none.safetensors
ok "nothing left, or two of one name: no output"

# A graph of one value in half precision, then with one in single precision too.
half='\052\013\010\001\020\012B\001aJ\002\000<' single='\052\015\010\001\020\001B\001bJ\004\000\000\200?'
printf "\010\010\022\001x:\015$half" >half.onnx
printf "\010\010\022\001x:\034$half$single" >mixed.onnx
expect_status 1 lafs-convert -o half.safetensors half.onnx
message "'half.onnx': a graph without weights of type F32"
check test ! -e half.safetensors
expect_status 0 lafs-convert -o mixed.safetensors mixed.onnx
message "'mixed.onnx': tensors of F16, BF16 and F64 are left out: 1"
lafs-convert --list mixed.safetensors >out
has out "# tensors: 1"
ok "weights of an ONNX graph that are not taken"

expect_status 0 lafs-convert -o other.safetensors "$onnx"
expect_status 0 lafs-convert --list other.safetensors >out
has out "w${tab}F32${tab}16,3,3,3"
has out '# source_format: onnx'
hasnt out '# architecture'
ok "takes the weights of an unknown ONNX network"

head -c 500 "$vit" >cut.safetensors
expect_status 1 lafs-convert --list cut.safetensors >out
message "lafs-convert: 'cut.safetensors': "
message "cut off"
: >empty
expect_status 1 lafs-convert --list empty >out
message "'empty': is empty"
printf 'PK\003\004rest' >x.pth
expect_status 1 lafs-convert -o y.safetensors x.pth
message "the zip archive is cut off"
printf 'hello, world, this is text\n' >text
expect_status 1 lafs-convert --list text >out
message "'text': neither a safetensors file, a checkpoint of PyTorch nor an ONNX graph"
expect_status 2 lafs-convert text y.safetensors
message "one model at a time, 2 are given (-o FILE is what is written)"
expect_status 2 lafs-convert -o y.safetensors text text
message "one model at a time, 2 are given"
hasnt stderr "-o FILE"
expect_status 1 lafs-convert --list missing >out
message "cannot open 'missing': no such file or directory"
expect_status 1 lafs-convert --list missing "$vit" >out
has out '# what: ViT'
expect_status 1 lafs-convert -o no/such/dir.safetensors "$vit"
message "no/such/dir.safetensors"
ok "files that are no models"

expect_status 2 lafs-convert
expect_status 2 lafs-convert "$vit"
message "no output given"
expect_status 2 lafs-convert -o out.h5 "$vit"
message "'out.h5' does not end in .safetensors, .pth or .onnx"
cp "$vit" itself.safetensors
expect_status 2 lafs-convert -o ./itself.safetensors itself.safetensors
message "the input 'itself.safetensors' would be replaced by the output './itself.safetensors'"
same itself.safetensors "$vit"
expect_status 2 lafs-convert --mirror -o x.safetensors "$vit"
message "are for writing .onnx"
expect_status 2 lafs-convert --list --opset 16 "$vit"
expect_status 2 lafs-convert --opset 15 -o x.onnx "$vit"
expect_status 2 lafs-convert --normalise never -o x.onnx "$vit"
expect_status 2 lafs-convert --list -o x.safetensors "$vit"
expect_status 2 lafs-convert -o x.safetensors "$vit" "$vit"
expect_status 2 lafs-convert -o x.safetensors --rename stn "$vit"
expect_status 2 lafs-convert -o x.safetensors --set stn "$vit"
expect_status 2 lafs-convert --nonsense
ok "misuse"
