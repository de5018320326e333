// Preloaded: counts the bytes that malloc has given out, with its header of 8 each, in the file that BENCH_HEAP names.
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

static _Atomic long long own;
static _Atomic(long long)* bytes = (_Atomic(long long)*)&own;

static void* Count(void* memory) {
  if (memory != NULL) atomic_fetch_add_explicit(bytes, (long long)malloc_usable_size(memory) + 8, memory_order_relaxed);
  return memory;
}

static void Uncount(void* memory) {
  if (memory != NULL) atomic_fetch_sub_explicit(bytes, (long long)malloc_usable_size(memory) + 8, memory_order_relaxed);
}

__attribute__((constructor)) static void Begin(void) {
  const char* path = getenv("BENCH_HEAP");
  int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* shared = mmap(NULL, sizeof(long long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (shared == MAP_FAILED) return;
  // Differences are what is looked at, so what came before is left out.
  bytes = shared;
}

void* malloc(size_t size) { return Count(__libc_malloc(size)); }

void* calloc(size_t count, size_t size) { return Count(__libc_calloc(count, size)); }

void* realloc(void* memory, size_t size) {
  Uncount(memory);
  void* moved = __libc_realloc(memory, size);
  if (moved == NULL && size != 0) Count(memory);
  return Count(moved);
}

void* memalign(size_t alignment, size_t size) { return Count(__libc_memalign(alignment, size)); }

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** out, size_t alignment, size_t size) {
  void* memory = memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *out = memory;
  return 0;
}

void free(void* memory) {
  Uncount(memory);
  __libc_free(memory);
}
