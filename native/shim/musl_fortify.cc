// What Debian's libseccomp.a, compiled for glibc with fortified functions, asks of its C library beside what
// musl has. Weak, so that glibc's own counts where the shim is built with it.
#include <cstdio>

// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl50-cpp)
// Only of the export for human readers, which is never called.
extern "C" __attribute__((weak)) int __fprintf_chk(FILE*, int, const char*, ...) {
  return 0;
}
// NOLINTEND(bugprone-reserved-identifier,cert-dcl50-cpp)
