#!/usr/bin/env bash
# Everything on a machine with an NVIDIA GPU, in one command: builds, runs the tests that compute on a GPU with CUDA, and
# measures kernels and encoders, beside PyTorch where python3 has it. What it prints is kept in tests/bench/results/
# cuda-DEVICE.txt. `tests/bench/gpu.sh [BUILD]`: a folder that is built already, on a machine that cannot build (of
# MAGPIE_COMMIT). Exits 77 where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1) || device=
[ -n "$device" ] || { echo "gpu.sh: no NVIDIA GPU on this machine: nothing was run" >&2; exit 77; }
results=${MAGPIE_GPU_RESULTS:-tests/bench/results}/cuda-$(tr -c 'A-Za-z0-9\n' - <<<"${device%%,*}").txt
model=${MAGPIE_MODEL_DIR:-$(scripts/fetch-model)}
build=${1:-build/release}
export MAGPIE_MODEL_DIR=$model MAGPIE_TEST_GPU=cuda MAGPIE_KERNEL_CHECKS=${MAGPIE_KERNEL_CHECKS:-300}
mapfile -t tests < <(grep -lE '"test_gpu\.h"' tests/test_*.c | xargs -n 1 basename -s .c) # they obey MAGPIE_TEST_GPU

if [ $# = 0 ]; then
    scripts/packages test
    cmake --preset release -DMAGPIE_CUDA=ON >/dev/null
    cmake --build --preset release --target magpie gpu_bench "${tests[@]}" >build/gpu.log || { tail -n 40 build/gpu.log; exit 1; }
    ctest --preset release -R '^golden_unpack$' >/dev/null # where ../shared/golden is
fi
devices=$("$build/service/magpie" devices)
[[ $devices == *cuda:0* ]] || { echo "$devices"; echo "gpu.sh: this build finds no CUDA device" >&2; exit 1; }

report() {
    local failed=0
    echo "$device; ${MAGPIE_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo "an unknown commit")}; $(date -u +%F)"
    echo "$devices"
    for test in "${tests[@]}"; do
        printf '%s: ' "$test"
        SECONDS=0
        if "$build/tests/$test" >"$log" 2>&1; then
            echo "passed, $(grep -c '\[       OK \]' "$log") tests, $(grep -c SKIPPED: "$log") skipped, $SECONDS s"
        else
            echo FAILED
            grep -a 'ERROR\|instead of\|FAILED' "$log" | head -n 20
            failed=1
        fi
    done
    "$build/tests/gpu_bench" cuda "$model" || failed=1
    python3 tests/bench/gpu_torch.py || true # that there is none is said, and no failure
    return $failed
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p "$(dirname "$results")"
report 2>&1 | tee "$results"
