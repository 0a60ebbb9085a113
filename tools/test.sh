#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests. Arguments go to ctest:
#
#   tools/test.sh                    all tests
#   tools/test.sh -LE slow           without those that take long
#   tools/test.sh -R engine/tensor   those whose name matches
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/install_deps.sh
cmake --preset release -DGHOSTGRAD_TESTS=ON
cmake --build --preset release
exec ctest --preset release "$@"
