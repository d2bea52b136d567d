#!/usr/bin/env bash
# Installs what the project is built and run with, from Debian 12's own packages.
#   launch/install_dependencies.sh [--cuda] [PACKAGE...]
# Packages given as arguments are installed too. Installs only what is missing, as root or by sudo. With --cuda it also
# fetches the headers of cuDNN's front end from PyPI into build/cudnn_frontend; the CUDA toolkit and cuDNN are NVIDIA's.
set -euo pipefail

cudnn_frontend=
if [[ ${1-} == --cuda ]]; then
  shift
  set -- python3-pip "$@"
  cudnn_frontend=$(cd "$(dirname "$0")/.." && pwd)/build/cudnn_frontend
fi

fetch_cudnn_frontend() {
  local version=1.32.0
  if [[ -z $cudnn_frontend || -d $cudnn_frontend/nvidia_cudnn_frontend-$version.dist-info ]]; then return; fi
  echo "Fetching the headers of cuDNN's front end $version"
  rm -rf "$cudnn_frontend"
  if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --no-compile \
    --only-binary :all: --target "$cudnn_frontend" "nvidia-cudnn-frontend==$version"; then
    echo "install_dependencies.sh: error: pip could not fetch nvidia-cudnn-frontend $version" >&2
    exit 1
  fi
  rm -rf "$cudnn_frontend/cudnn"  # what the package has for Python
}

packages=(
  g++ cmake ninja-build pkg-config
  libboost-dev libgoogle-glog-dev nlohmann-json3-dev libcli11-dev libgtest-dev libgmock-dev
  protobuf-compiler libprotobuf-dev
  openmpi-bin libopenmpi-dev
  libhdf5-dev zlib1g-dev libzstd-dev libicu-dev libpcre2-dev
  libdnnl-dev libblis-serial-dev
  "$@"
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  fetch_cudnn_frontend
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install_dependencies.sh: error: these packages are missing: ${missing[*]}" >&2
    echo "Run this as root, or install sudo." >&2
    exit 1
  fi
  as_root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_get() {
  # env: sudo drops the environment. Old lists of packages name files that the mirror has no longer.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "install_dependencies.sh: error: apt-get $1 failed" >&2
    exit 1
  fi
}

echo "Installing ${missing[*]}"
apt_get update
apt_get install --no-install-recommends "${missing[@]}"
fetch_cudnn_frontend
