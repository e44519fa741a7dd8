#!/bin/sh
# Our programs beside the software that people know: webdataset, msgpack and msgpack-numpy, safetensors, PyTorch,
# onnxruntime, InsightFace, in the versions of requirements.txt. Prints a line for each check; "skip" where the packages
# cannot be had. Run by `make check-interop`.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
if ! python=$("$TOP/tests/interop/environment.sh" "$TOP/build" 2>&1); then
    echo "skip interop: $python"
    exit 0
fi
export PATH=${LAFS_BIN:-$TOP/bin}:$PATH LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$TOP/tests/torch NO_ALBUMENTATIONS_UPDATE=1
unset LAFS_BACKEND_PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/lafs-interop.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"
. "$TOP/tests/cli/model.inc"
models_trained
lafs-synth -q --people 20 -n 5 --seed 11 --aligned -o hundred.tar
for part in shards streams tensors checkpoints graphs; do
    "$python" "$TOP/tests/interop/$part.py" || status=1
done
exit ${status:-0}
