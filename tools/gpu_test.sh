#!/usr/bin/env bash
# All tests on a machine with an NVIDIA GPU: builds with CUDA, runs every test (op tests run on each
# device), then those that are fast once more under compute-sanitizer.
#
#   tools/gpu_test.sh                builds for the GPU at hand
#   tools/gpu_test.sh BUILD_FOLDER   tests a build that is there
#
# compute-sanitizer comes with the CUDA Toolkit; where it is missing, that part is left out, aloud.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; then
  echo "gpu_test.sh: no NVIDIA GPU; expected nvidia-smi to list one" >&2
  exit 1
fi

build=${1:-build/cuda}
if (($# == 0)); then
  tools/install_deps.sh
  cmake --preset cuda -DGHOSTGRAD_TESTS=ON -DCMAKE_CUDA_ARCHITECTURES=native
  cmake --build --preset cuda
fi
ctest --test-dir "$build" --output-on-failure

if ! command -v compute-sanitizer >/dev/null; then
  echo "gpu_test.sh: compute-sanitizer is not on PATH; memory and race checks are left out"
  exit 0
fi
for tool in memcheck racecheck; do
  for suite in engine_tests ops_tests; do
    echo "gpu_test.sh: $tool of $suite"
    compute-sanitizer --tool "$tool" --error-exitcode 1 --launch-timeout 120 \
      "$build/$suite" "[cuda]~[slow]"
  done
done
