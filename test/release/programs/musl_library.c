// What glibc's libstdc++ and libgcc ask of their C library and musl does not have.
#include <sys/random.h>

__attribute__((visibility("hidden"))) void* __dso_handle = &__dso_handle;
char __libc_single_threaded = 0;

// Not found here: it looks in the program headers, as everywhere before glibc 2.35.
int _dl_find_object(void* address, void* result) {
  (void)address;
  (void)result;
  return -1;
}

unsigned arc4random(void) {
  unsigned value = 0;
  return getrandom(&value, sizeof(value), 0) == sizeof(value) ? value : 0;
}
