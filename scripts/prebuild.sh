#!/bin/sh
# Makes the binaries that the package ships, stripped, in prebuilds/linux-<architecture>:
#   libcontainer.node        the addon for a Node of glibc's, 2.28 or newer
#   libcontainer.musl.node   the addon for a Node of musl's
#   libcontainer-shim        the shim, static and of musl's: for both
# Usage: scripts/prebuild.sh [VARIANT...]     x64 x64-musl arm64 arm64-musl; all of them without one
#
# cmake-js compiles all of them, from the same lists of sources and flags as node-gyp's build/Release (native/sources.gypi).
set -eu
cd "$(dirname "$0")/.."
mkdir -p build-prebuild
# Two tests may want the binaries at the same time.
[ "${PREBUILD_LOCKED:-}" ] || exec env PREBUILD_LOCKED=1 flock build-prebuild/lock scripts/prebuild.sh "$@"
export LIBCONTAINER_GLIBC_FLOOR=2.28 LIBCONTAINER_SHIM_LIBC=musl LC_ALL=C
# From sources to bytes nothing else counts: neither the directory (see toolchain.sh) nor the day.
export SOURCE_DATE_EPOCH=0
[ $# -gt 0 ] || set -- x64 x64-musl arm64 arm64-musl

put() { # strip-program file destination
  mkdir -p "$(dirname "$3")"
  "$1" --strip-all -R .comment -o "$3.new" "$2"
  chmod 755 "$3.new"
  mv "$3.new" "$3"
}

compile() { # directory targets... -- cmake-js options...
  directory=$1
  shift
  targets=
  while [ "$1" != -- ]; do
    targets="$targets $1"
    shift
  done
  shift
  rm -f "$directory/CMakeCache.txt" # whatever changed of the flags is seen
  for target in $targets; do
    node node_modules/cmake-js/bin/cmake-js build -s --log-level error -O "$directory" --parallel 2 --target "$target" "$@" >"$directory.log" 2>&1 || {
      tail -n 40 "$directory.log" >&2
      exit 1
    }
  done
}

for variant in "$@"; do
  out=prebuilds/linux-${variant%-musl}
  work=build-prebuild/$variant
  case $variant in
    x64)
      compile "$work" libcontainer libcontainer-shim -- --arch x64
      put strip "$work/Release/libcontainer.node" "$out/libcontainer.node"
      put strip "$work/libcontainer-shim" "$out/libcontainer-shim"
      ;;
    x64-musl)
      LIBCONTAINER_LIBC=musl compile "$work" libcontainer -- --arch x64
      put strip "$work/Release/libcontainer.node" "$out/libcontainer.musl.node"
      ;;
    arm64 | arm64-musl)
      export LIBCONTAINER_SYSROOT="${XDG_CACHE_HOME:-$HOME/.cache}/libcontainer-release/sysroot-arm64"
      scripts/debian-unpack.sh "$LIBCONTAINER_SYSROOT" bookworm arm64 musl musl-dev libseccomp-dev
      set_arm64="--arch arm64 --CDCMAKE_TOOLCHAIN_FILE=$PWD/native/linux-arm64.cmake"
      if [ "$variant" = arm64 ]; then
        compile "$work" libcontainer libcontainer-shim -- $set_arm64
        put aarch64-linux-gnu-strip "$work/Release/libcontainer.node" "$out/libcontainer.node"
        put aarch64-linux-gnu-strip "$work/libcontainer-shim" "$out/libcontainer-shim"
      else
        LIBCONTAINER_LIBC=musl compile "$work" libcontainer -- $set_arm64
        put aarch64-linux-gnu-strip "$work/Release/libcontainer.node" "$out/libcontainer.musl.node"
      fi
      unset LIBCONTAINER_SYSROOT
      ;;
    *)
      echo "prebuild: no variant $variant" >&2
      exit 1
      ;;
  esac
done
