#!/bin/sh
# lafs-convert and PyTorch's checkpoints: networks, prefixes, heads; back and forth; pickles that would run code.
# The files of tests/fuzz/corpus/pth were written by PyTorch 1.13, or made to be refused. tests/interop has PyTorch read.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
pth=$TOP/tests/fuzz/corpus/pth
tab=$(printf '\t')
tensors() { lafs-convert --list "$1" | grep -v '^#' | sort; }

expect_status 0 lafs-convert --list "$pth/lafs" >out
has out '# format: pth'
has out '# epoch: 41'
has out "student.module.backbone.cls_token${tab}F32${tab}1,1,8"
has out "teacher.head.mlp.0.bias${tab}F32${tab}4"
has out "optimizer.state.0.exp_avg${tab}F32${tab}1,1,8"
hasnt out '# a:'
expect_status 0 lafs-convert --list "$pth/lafs-legacy" >old
grep -v '^# file\|^# sha256' out >a
grep -v '^# file\|^# sha256' old >b
same a b
expect_status 0 lafs-convert --list "$pth/odd" >out
has out "bf${tab}BF16${tab}6"
has out "scalar${tab}I64${tab}"
ok "lists checkpoints, of PyTorch before 1.6 too"

expect_status 0 lafs-convert -v -o t.safetensors "$pth/lafs"
message "those of 'teacher.'; 2 of heads and classifiers left out"
expect_status 0 lafs-convert --list t.safetensors >out
has out '# architecture: part_fvit'
has out '# dim: 8'
has out '# licence: unknown'
has out '# provenance: unknown'
has out '# source_format: pth'
has out "# source_sha256: $(sha256sum <"$pth/lafs" | cut -d' ' -f1)"
has out '# tensors: 17'
has out "cls_token${tab}F32${tab}1,1,8"
hasnt out 'loss.weight'
expect_status 0 lafs-convert -o l.safetensors "$pth/lafs-legacy"
tensors t.safetensors >a
tensors l.safetensors >b
same a b
expect_status 0 lafs-convert -o s.safetensors --network student "$pth/lafs"
tensors s.safetensors >b
same a b
cmp -s t.safetensors s.safetensors && fail_ "student and teacher are the same"
expect_status 0 lafs-convert -o h.safetensors --keep-heads "$pth/lafs"
tensors h.safetensors >out
has out "loss.weight${tab}F32${tab}2,8"
has out "head.mlp.0.bias${tab}F32${tab}4"
expect_status 0 lafs-convert -o all.safetensors --network all "$pth/lafs"
expect_status 0 lafs-convert --list all.safetensors >out
has out 'student.module.backbone.cls_token'
has out 'dino_loss.center'
ok "a network of a checkpoint: teacher, student, all; with heads and without"

models_trained
expect_status 0 lafs-convert -o m.pth m.safetensors
expect_status 0 lafs-convert -o m.pt m.safetensors
same m.pth m.pt
expect_status 0 lafs-convert --keep-heads --unset source_format --unset source_sha256 --unset converted_by -o back.safetensors m.pth
same m.safetensors back.safetensors
lafs-embed -q -m back.safetensors -o /dev/null faces.lafs
expect_status 0 lafs-convert -o m.onnx m.pth
expect_status 0 lafs-convert -o direct.onnx m.safetensors
lafs-convert --list m.onnx | grep -v '^# file\|^# sha256\|^# source' >a
lafs-convert --list direct.onnx | grep -v '^# file\|^# sha256\|^# source' >b
same a b
ok "safetensors to pth and back, to the byte; pth to ONNX"

expect_status 0 lafs-convert --select loss. -o heads.pth m.safetensors
expect_status 1 lafs-convert -o out.safetensors heads.pth
message "'heads.pth': holds heads and classifiers only (1 tensors): --keep-heads takes them"
check test ! -e out.safetensors
expect_status 0 lafs-convert --keep-heads -o out.safetensors heads.pth
rm out.safetensors
ok "a checkpoint of heads only"

expect_status 0 lafs-convert -o f.safetensors "$pth/foreign-architecture"
expect_status 0 lafs-convert --list f.safetensors >out
has out '# architecture: resnet50'
has out '# licence: unknown'
has out '# provenance: unknown'
expect_status 0 lafs-convert -q -o f.safetensors "$pth/legacy-others"
expect_status 1 lafs-convert --list "$pth/no-pickle"
message "/no-pickle': is a zip archive, but no PyTorch checkpoint"
ok "a foreign architecture; storages of others"

mkdir evil
cd evil
for case in reduce:os.system stack-global:builtins.eval inst:posix.system obj:os.system newobj:subprocess.Popen \
    build:__builtin__.exec module:vit_pytorch.vit.ViT nested:numpy.core.multiarray._reconstruct; do
    expect_status 1 lafs-convert -o out.safetensors "$pth/evil-${case%%:*}"
    message "refused: it calls for ${case#*:}"
    expect_status 1 lafs-convert --list "$pth/evil-${case%%:*}" >list
    message "refused: it calls for ${case#*:}"
    check test ! -s list
    rm list
done
check test -z "$(ls | grep -v stderr)"
cd ..
ok "a pickle that would run code is refused by the name of what it calls for, and runs none"

for file in beyond short missing flipped flipped-deflated overlap cut cut-legacy twice; do
    expect_status 1 lafs-convert -o out.safetensors "$pth/$file"
    message "$file': "
done
expect_status 1 lafs-convert -o out.safetensors --network student "$pth/odd"
message "odd': has no student"
expect_status 2 lafs-convert -o out.safetensors --network student m.safetensors
message "are for PyTorch's checkpoints"
expect_status 2 lafs-convert --list --network student "$pth/lafs"
expect_status 2 lafs-convert -o out.safetensors --network both "$pth/lafs"
check test ! -e out.safetensors
ok "broken checkpoints, and networks that are not there"
