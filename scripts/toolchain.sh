#!/bin/sh
# Prints the flags that addon and shim are compiled and linked with beside those of native/sources.gypi:
#   toolchain.sh addon|shim cflags|ldflags|libs [compiler]
#
# LIBCONTAINER_LIBC=musl         an addon for a Node of musl's; else for the C library of this machine
# LIBCONTAINER_SHIM_LIBC=glibc   a shim of glibc's. With musl (Debian: musl-dev) the static shim is a third of the size,
#                                and so is what each container costs in memory: glibc brings printf, locales and iconv
#                                into every static program. Without musl it is glibc anyway, unless musl is asked for.
# LIBCONTAINER_GLIBC_FLOOR=2.28  an addon that loads with this glibc and every newer one, wherever it was linked
# LIBCONTAINER_SYSROOT=DIR       musl and libseccomp of another architecture: Debian's packages, unpacked
set -eu
part=$1 what=$2
compiler=${3:-${CXX:-g++}}
machine=$($compiler -dumpmachine)
sysroot=${LIBCONTAINER_SYSROOT:-}
triplet=$(echo "$machine" | sed 's/-gnu$/-musl/')
musl=$sysroot/usr/lib/$triplet
made=$(pwd)/build/toolchain/$machine

# One of a static library's names; that of the sysroot first.
library() {
  if [ -e "$sysroot/usr/lib/$machine/$1" ]; then echo "$sysroot/usr/lib/$machine/$1"; else $compiler -print-file-name="$1"; fi
}

# Of what lies beside glibc's headers only what is named: links to it in a directory, which is printed.
beside() { # directory name...
  directory=$made/$1
  shift
  mkdir -p "$directory"
  for name in "$@"; do
    for from in "$sysroot/usr/include/$machine" "$sysroot/usr/include" "/usr/$machine/include" "/usr/include/$machine" /usr/include; do
      if [ -e "$from/$name" ]; then
        ln -sfn "$from/$name" "$directory/$name"
        break
      fi
    done
  done
  echo "$directory"
}

# musl's headers where glibc's would come, after the compiler's own for C++ and the builtin ones.
musl_cflags() {
  printf '%s ' -nostdinc -U_FORTIFY_SOURCE -D_GLIBCXX_EXTERN_TEMPLATE=0 -include core/musl_compat.h
  $compiler -x c++ -E -v /dev/null 2>&1 | sed -n '/^#include </,/^End of search/p' | grep '^ ' | sed 's/^ //' |
    while read -r directory; do
      directory=$(readlink -f "$directory")
      case $directory in
        */c++/* | */gcc/* | */gcc-cross/*) printf '%s %s ' -isystem "$directory" ;;
      esac
    done
  printf '%s %s ' -isystem "$sysroot/usr/include/$triplet"
  # Some of the C++ headers use whatever else they find of glibc's.
  printf '%s %s ' -isystem "$(beside include linux asm-generic rapidjson asm seccomp.h seccomp-syscalls.h)"
}

is_gcc() { $compiler --version | grep -q 'Free Software Foundation'; }

# Whatever directory this is built in, the bytes are the same.
[ "$what" != cflags ] || printf '%s ' "-ffile-prefix-map=$(pwd)=."

if [ "$part" = addon ]; then
  if [ "${LIBCONTAINER_LIBC:-}" = musl ]; then
    # Debian has it below /lib, which only an installed system joins with /usr/lib.
    shared=$musl/libc.so
    [ -f "$shared" ] || shared=$sysroot/lib/$triplet/libc.so
    [ -f "$shared" ] && is_gcc || {
      echo "toolchain: no musl for $machine (Debian: musl-dev)" >&2
      exit 1
    }
    case $what in
      cflags) musl_cflags ;;
      ldflags) echo "-nostdlib -nostartfiles $musl/crti.o $($compiler -print-file-name=crtbeginS.o)" ;;
      libs) echo "$(library libstdc++.a) $($compiler -print-libgcc-file-name) $shared $($compiler -print-file-name=crtendS.o) $musl/crtn.o" ;;
    esac
    exit 0
  fi
  case $what in
    cflags)
      # A cross compiler does not look where this machine's libraries have their headers.
      [ "$machine" = "$(${HOST_CXX:-g++} -dumpmachine 2>/dev/null)" ] || printf '%s %s ' -isystem "$(beside rapidjson-include rapidjson)"
      ;;
    ldflags)
      echo "-static-libstdc++ -static-libgcc"
      case $machine in *-gnu*) floor=${LIBCONTAINER_GLIBC_FLOOR:-} ;; *) floor= ;; esac
      if [ -n "$floor" ]; then
        node scripts/glibc-floor.mjs "$floor" "$compiler" "$made/glibc-$floor"
        echo "-L$made/glibc-$floor"
      fi
      ;;
  esac
  exit 0
fi

if [ "${LIBCONTAINER_SHIM_LIBC:-musl}" != musl ] || [ ! -f "$musl/libc.a" ] || ! is_gcc; then
  if [ "${LIBCONTAINER_SHIM_LIBC:-}" = musl ]; then
    echo "toolchain: no musl for $machine (Debian: musl-dev)" >&2
    exit 1
  fi
  case $what in
    ldflags) echo "-static" ;;
    libs) echo "-lseccomp" ;;
  esac
  exit 0
fi
case $what in
  cflags)
    musl_cflags
    echo "-fPIE"
    ;;
  ldflags) echo "-static-pie -nostdlib -nostartfiles $musl/rcrt1.o $musl/crti.o" ;;
  libs) echo "$(library libstdc++.a) $(library libseccomp.a) $musl/libc.a $($compiler -print-libgcc-file-name) $musl/libc.a $musl/crtn.o" ;;
esac
