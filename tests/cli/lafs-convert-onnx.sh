#!/bin/sh
# lafs-convert into ONNX: what the file says of itself, the options, what is refused. tests/interop runs the graphs.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/model.inc"
models_trained
tab=$(printf '\t')

expect_status 0 lafs-convert -o m.onnx --set licence=mine --unset training m.safetensors
expect_status 0 lafs-convert --list m.onnx >out
has out '# format: onnx'
has out '# architecture: part_fvit'
has out '# licence: mine'
has out '# intended_use: comparing aligned photos'
has out '# input: (batch, 3, 112, 112) float32, planes red, green, blue, (x - 127.5) / 127.5'
has out '# alignment: least-squares similarity'
has out '# output: (batch, 64) float32, not normalised'
has out "# source_sha256: $(sha256sum <m.safetensors | cut -d' ' -f1)"
has out "embed.weight${tab}F32${tab}768,64"
has out "landmarks.shape${tab}I64${tab}4"
hasnt out '# training'
hasnt out 'running_mean'
expect_status 0 lafs-convert -o again.onnx --set licence=mine --unset training m.safetensors
same m.onnx again.onnx
ok "a recogniser as a graph that says what it wants"

expect_status 0 lafs-convert -o whole.onnx --normalise inside --mirror --opset 16 m.safetensors
expect_status 0 lafs-convert --list whole.onnx >out
has out '# input: (batch, 3, 112, 112) float32, planes red, green, blue, 0 to 255'
has out '# pixels.range: 0 to 255'
has out '# output: (batch, 64) float32, embedding of the image plus that of its mirror image'
expect_status 0 lafs-convert -o grid.onnx --set pixels.channels=bgr grid.safetensors
expect_status 0 lafs-convert --list grid.onnx >out
has out '# tokens: grid'
has out '# pixels.channels: rgb'
has out "embed.weight${tab}F32${tab}64,3,16,16"
ok "normalisation and mirror image inside, old operators, a ViT on a grid"

expect_status 0 lafs-convert -o back.safetensors m.onnx
message "'m.onnx' is a graph that lafs-convert wrote: its weights are folded, and make no model of it again"
expect_status 2 lafs-convert -o no.onnx cnn.safetensors
message "'cnn.safetensors': the model has no ViT"
expect_status 2 lafs-convert -o no.onnx vit.safetensors
message "'vit.safetensors': the model has no landmark CNN"
expect_status 1 lafs-convert -o no.onnx --drop mlp_head m.safetensors
message "'m.safetensors': tensor 'mlp_head.0.weight' is missing"
expect_status 1 lafs-convert -o no.onnx "$TOP/tests/golden/data/vit.safetensors"
expect_status 1 lafs-convert -o no/such.onnx m.safetensors
check test ! -e no.onnx
ok "what is no whole recogniser leaves no file"
