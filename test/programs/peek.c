// A hostile container: looks, for as many milliseconds as it is told, into every process that it can see, and prints
// what it got hold of in those that are not of the image. "ready" first, "end" last.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void look(const char* pid) {
  char path[300];
  char target[4096];
  snprintf(path, sizeof(path), "/proc/%s/exe", pid);
  ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n <= 0) return;
  target[n] = '\0';
  if (strstr(target, "/busybox") != NULL || strstr(target, "/peek") != NULL) return;
  struct stat st;
  if (stat(path, &st) == 0) printf("exe %u:%u:%lu %s\n", major(st.st_dev), minor(st.st_dev), st.st_ino, target);
  static const char* const kParts[] = {"mem", "root/etc/passwd", "environ"};
  for (size_t i = 0; i < sizeof(kParts) / sizeof(kParts[0]); ++i) {
    snprintf(path, sizeof(path), "/proc/%s/%s", pid, kParts[i]);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) printf("opened %s\n", kParts[i]);
    if (fd >= 0) close(fd);
  }
  for (int fd = 0; fd < 32; ++fd) {
    snprintf(path, sizeof(path), "/proc/%s/fd/%d", pid, fd);
    n = readlink(path, target, sizeof(target) - 1);
    if (n > 0) printf("fd %.*s\n", (int)n, target);
  }
  fflush(stdout);
}

int main(int argc, char** argv) {
  long end = now_ms() + (argc > 1 ? atol(argv[1]) : 1000);
  printf("ready\n");
  fflush(stdout);
  while (now_ms() < end) {
    DIR* scan = opendir("/proc");
    struct dirent* entry;
    while (scan != NULL && (entry = readdir(scan)) != NULL) {
      if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && atol(entry->d_name) != getpid()) look(entry->d_name);
    }
    if (scan != NULL) closedir(scan);
  }
  printf("end\n");
  return 0;
}
