#!/bin/sh
# The library against PyTorch: tests/torch/twin.py, where /usr/bin/python3 (or $PYTHON) has PyTorch; else skipped.
# The driver is that of the build in $LAFS_BUILD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3}
driver=${LAFS_BUILD:?}/tests/torch/driver
if ! "$python" -c 'import numpy, torch' 2>/dev/null; then
    echo "skip torch: $python has no PyTorch (Debian: python3-torch)"
    exit 0
fi
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/twin.py" "$driver"
