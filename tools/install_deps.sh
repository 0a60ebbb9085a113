#!/usr/bin/env bash
# Installs the Debian packages that Ghostgrad builds on (Debian 12, Ubuntu 24.04), as root or by
# sudo. Installs only what is missing; when nothing is, it takes a moment and needs no network.
#
#   tools/install_deps.sh          what building and testing need
#   tools/install_deps.sh --dev    and the formatter that .ci/run checks with
#   tools/install_deps.sh --list   only prints their names
set -euo pipefail

packages=(
  g++ cmake ninja-build git
  libfmt-dev libcli11-dev libeigen3-dev libyaml-cpp-dev nlohmann-json3-dev catch2
  libdnnl-dev ocl-icd-opencl-dev # the CMake package of libdnnl-dev looks for OpenCL
  librandom123-dev libpcre2-dev zlib1g-dev libcurl4-openssl-dev libssl-dev
  libopenmpi-dev openmpi-bin
)

for argument in "$@"; do
  case "$argument" in
    --dev) packages+=(clang-format-14) ;;
    --list)
      printf '%s\n' "${packages[@]}"
      exit 0
      ;;
    *)
      echo "install_deps.sh: unknown argument $argument; expected --dev, --list or nothing" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps.sh: no dpkg-query; expected Debian 12, Ubuntu 24.04 or a relative of theirs" >&2
  echo "install_deps.sh: elsewhere, install the counterparts of: ${packages[*]}" >&2
  exit 1
fi

# dpkg-query fails when it does not know one of the packages; those are missing then.
installed=$(dpkg-query -W -f='${db:Status-Status} ${binary:Package}\n' "${packages[@]}" 2>/dev/null |
  sed -n 's/^installed \([^:]*\).*/\1/p' || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install_deps.sh: nothing to install"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install_deps.sh: not root and no sudo; expected one of them, to install: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "install_deps.sh: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
