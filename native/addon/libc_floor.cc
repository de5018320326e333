// What an addon that is to load with an old C library must not ask of it: functions that glibc 2.33 gave
// names of their own, and a variable of 2.32. Defined here they are the addon's own, and nobody else's (see
// exports.map). Without <sys/stat.h>: there the same names are declared, with or without 64, as the
// compiler's flags go.
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
extern "C" {

// True would let the C++ library count references without atomic instructions; Node always has threads.
char __libc_single_threaded = 0;

#ifndef __GLIBC__
// Asked by the compiler's atomic operations for arm64; musl keeps its own to itself.
unsigned long __getauxval(unsigned long type) {
  return getauxval(type);
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)  // where the kernel's struct stat is the C library's
#define STAT_FUNCTIONS(suffix)                                                     \
  int stat##suffix(const char* path, void* out) {                                  \
    return static_cast<int>(syscall(SYS_newfstatat, -100, path, out, 0));          \
  }                                                                                \
  int fstat##suffix(int fd, void* out) {                                           \
    return static_cast<int>(syscall(SYS_fstat, fd, out));                          \
  }                                                                                \
  int fstatat##suffix(int directory, const char* path, void* out, int flags) {     \
    return static_cast<int>(syscall(SYS_newfstatat, directory, path, out, flags)); \
  }
STAT_FUNCTIONS()
STAT_FUNCTIONS(64)
#endif
}
// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,readability-identifier-naming)
