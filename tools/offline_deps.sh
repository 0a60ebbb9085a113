#!/usr/bin/env bash
# Collects the Debian packages that building and running Ghostgrad takes beyond a C++ toolchain, for
# a machine that reaches no network:
#
#   tools/offline_deps.sh DIR                          here: fills DIR with packages
#   for f in DIR/*.deb; do dpkg -x "$f" /; done        there, as root: now it builds as anywhere
#   for f in DIR/*.deb; do dpkg -x "$f" PREFIX; done   there, otherwise: a binary built here runs with
#     LD_LIBRARY_PATH=PREFIX/usr/lib/x86_64-linux-gnu
#
# The machine there must be of the same processor and not older than this one.
set -euo pipefail

if (($# != 1)) || [[ $1 == -* ]]; then
  echo "usage: tools/offline_deps.sh DIR" >&2
  exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
cd "$1"

# The list has one home. Compilers, CMake and git are a machine's own; MPI would be 300 MB more, and a
# build does without.
mapfile -t wanted < <("$here/install_deps.sh" --list | grep -vxE 'g\+\+|cmake|ninja-build|git|.*openmpi.*')

# Everything these depend on, as installed by apt; real packages only.
mapfile -t closure < <(
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "${wanted[@]}" | grep '^[a-z0-9]' | sort -u
)
# What every system has, or brings with its compiler, stays out: it must fit the kernel there.
mapfile -t packages < <(
  apt-cache show --no-all-versions "${closure[@]}" 2>/dev/null | awk '
    function flush() { if (name != "" && !is_base) print name; name = ""; is_base = 0 }
    /^Package: / { flush(); name = $2 }
    /^Priority: (required|important)$/ || /^Essential: yes$/ { is_base = 1 }
    END { flush() }' |
    grep -vE '^(libc6|libc-|linux-libc|libcrypt|gcc-|g\+\+|cpp|lib(gcc|stdc\+\+|gomp|[a-z]*san|itm|atomic|quadmath|cc1)[-0-9])' |
    sort -u
)

echo "offline_deps.sh: collecting ${#packages[@]} packages into $PWD"
apt-get download -qq "${packages[@]}"
du -sh . | sed 's/\t.*//; s/^/offline_deps.sh: size /'
