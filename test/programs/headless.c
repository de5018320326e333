// headless: its first thread ends (pthread_exit), another one runs on.
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

static void* run(void* unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}

int main(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, NULL) != 0) return 1;
  pthread_exit(NULL);
}
