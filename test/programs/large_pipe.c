// Makes the pipe that is its standard output as large as it may, fills it, and prints on standard error how many bytes that took.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
  int size = 1 << 28;
  while (size > 65536 && fcntl(1, F_SETPIPE_SZ, size) < 0) size /= 2;
  if (fcntl(1, F_SETFL, O_NONBLOCK) != 0) return 1;
  static char block[4096];
  long written = 0;
  for (ssize_t n; (n = write(1, block, sizeof(block))) > 0;) written += n;
  fprintf(stderr, "%ld", written);
  return 0;
}
