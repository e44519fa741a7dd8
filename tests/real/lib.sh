# Sourced by the tests on real photos: `make check SHARED=DIR`, where DIR holds data/ and weights/; skipped without it.
# Sets DATA, and makes yunet.safetensors, the published detector.
#
#   shared NAME    ends the test, counted as skipped, where there is no SHARED

. "$TOP/tests/cli/lib.sh"

shared() {
    if [ -z "${SHARED:-}" ]; then
        skip "$1" "SHARED is not set"
        exit 0
    fi
    case "$SHARED" in /*) ;; *) SHARED=$TOP/$SHARED ;; esac
    DATA=$SHARED/data
    lafs-convert -q -o yunet.safetensors "$SHARED/weights/yunet_n_dynamic.onnx"
}
