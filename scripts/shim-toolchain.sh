#!/bin/sh
# Prints the shim's extra flags for its C library: `shim-toolchain.sh cflags|ldflags|libs [compiler]`.
#
# With musl (Debian: musl-dev) the static shim is a third of the size it has with glibc, and so is what each container
# costs in memory: glibc brings printf, locales and iconv into every static program. Without musl it is glibc.
set -eu
compiler=${2:-${CXX:-g++}}
machine=$($compiler -dumpmachine)
musl=/usr/lib/$(echo "$machine" | sed 's/-gnu$/-musl/')
if [ "${LIBCONTAINER_SHIM_LIBC:-musl}" != musl ] || [ ! -f "$musl/libc.a" ] || ! $compiler --version | grep -q 'Free Software Foundation'; then
  case $1 in
    ldflags) echo "-static" ;;
    libs) echo "-lseccomp" ;;
  esac
  exit 0
fi
case $1 in
  cflags)
    printf '%s ' -nostdinc -D_GLIBCXX_EXTERN_TEMPLATE=0 -include shim/musl_compat.h
    # The compiler's own C++ and builtin headers, then musl's where glibc's would come.
    $compiler -x c++ -E -v /dev/null 2>&1 | sed -n '/^#include </,/^End of search/p' | grep '^ ' | sed 's/^ //' |
      while read -r directory; do
        case $directory in
          */c++/* | */gcc/* | */gcc-cross/*) printf '%s %s ' -isystem "$directory" ;;
        esac
      done
    printf '%s %s ' -isystem "/usr/include/$(basename "$musl")"
    # Of what lies beside glibc's headers only this: some of the C++ headers use whatever else they find there.
    beside=$(pwd)/build/shim-include/$machine
    mkdir -p "$beside"
    for name in linux asm-generic rapidjson asm seccomp.h seccomp-syscalls.h; do
      for directory in "/usr/include/$machine" "/usr/$machine/include" /usr/include; do
        if [ -e "$directory/$name" ]; then
          ln -sfn "$directory/$name" "$beside/$name"
          break
        fi
      done
    done
    echo "-isystem $beside"
    ;;
  ldflags) echo "-static -nostdlib -nostartfiles $musl/crt1.o $musl/crti.o" ;;
  libs) echo "$($compiler -print-file-name=libstdc++.a) $($compiler -print-file-name=libseccomp.a) $musl/libc.a $($compiler -print-libgcc-file-name) $musl/libc.a $musl/crtn.o" ;;
esac
