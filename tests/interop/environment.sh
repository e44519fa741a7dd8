#!/bin/sh
# usage: tests/interop/environment.sh DIRECTORY
#
# Makes a Python environment with the packages of requirements.txt in DIRECTORY/interop-HASH, once for each content of
# that file and version of Python, and prints the path of its python. Prints why on standard error and exits 1 where
# that cannot be done. $PYTHON (default: /usr/bin/python3) is what it is made of; packages of the system show through,
# for the sake of PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3}
want=$here/requirements.txt
why() { echo "$*" >&2; exit 1; }

command -v "$python" >/dev/null || why "there is no $python"
hash=$({ "$python" --version; cat "$want"; } | cksum | cut -d' ' -f1)
mkdir -p "$1" || exit 1
venv=$(cd "$1" && pwd)/interop-$hash
[ -e "$venv/complete" ] && { echo "$venv/bin/python"; exit 0; }

rm -rf "$venv"
log=$venv.log
# A pip of the system installs into the environment from outside, which saves giving it one of its own.
if "$python" -m pip --version >/dev/null 2>&1 &&
    "$python" -m venv --system-site-packages --without-pip "$venv" >"$log" 2>&1; then
    pip() { "$python" -m pip --python "$venv/bin/python" "$@"; }
elif "$python" -m venv --system-site-packages "$venv" >"$log" 2>&1; then
    pip() { "$venv/bin/python" -m pip "$@"; }
else
    why "$python makes no environment (Debian: python3-venv)"
fi
pip install --quiet --no-deps --only-binary :all: --retries 1 --no-input --disable-pip-version-check \
    --ignore-installed -r "$want" >"$log" 2>&1 ||
    why "the packages are not to be had: $(grep -i error "$log" | tail -1 | cut -c 1-200)"
: >"$venv/complete"
rm -f "$log"
echo "$venv/bin/python"
