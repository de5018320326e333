// The least that it takes to learn of an OOM or of exits: a C program that waits on the same descriptors and looks at the
// clock. `floor [MEMORY_CGROUP]` stays, and keeps nanoseconds of CLOCK_MONOTONIC:
//   signal           when the next OOM is signalled (v1's eventfd), which is before the victim is killed
//   exits PID...     when each of them had ended, in that order
//   tell             prints them; not before it is asked, since whoever reads them is being measured
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kMaxPids = 4096 };

static void Die(const char* what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int Register(const char* directory) {
  char path[4096], line[64];
  snprintf(path, sizeof(path), "%s/memory.oom_control", directory);
  int control = open(path, O_RDONLY | O_CLOEXEC);
  snprintf(path, sizeof(path), "%s/cgroup.event_control", directory);
  int event_control = open(path, O_WRONLY | O_CLOEXEC);
  int signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (control < 0 || event_control < 0 || signal < 0) Die(path);
  int size = snprintf(line, sizeof(line), "%d %d", signal, control);
  if (write(event_control, line, (size_t)size) != size) Die(path);
  close(event_control);
  return signal;
}

static long long at[kMaxPids];
static int count;

static void Oom(int signal) {
  uint64_t ignored;
  while (read(signal, &ignored, sizeof(ignored)) > 0) {
  }
  struct pollfd ready = {signal, POLLIN, 0};
  if (poll(&ready, 1, -1) != 1) Die("poll");
  at[0] = Now();
  count = 1;
}

static void Exits(char* pids) {
  struct epoll_event events[64];
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  int fds[kMaxPids];
  count = 0;
  for (char* word = strtok(pids, " \n"); word != NULL && count < kMaxPids; word = strtok(NULL, " \n")) {
    int fd = (int)syscall(SYS_pidfd_open, atoi(word), 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = (uint32_t)count};
    if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) Die("pidfd_open");
    fds[count++] = fd;
  }
  for (int left = count; left > 0;) {
    int n = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < n; ++i) at[events[i].data.u32] = Now();
    left -= n > 0 ? n : 0;
  }
  for (int i = 0; i < count; ++i) close(fds[i]);
  close(epoll);
}

int main(int argc, char** argv) {
  char* line = NULL;
  size_t room = 0;
  int signal = argc == 2 ? Register(argv[1]) : -1;
  while (getline(&line, &room, stdin) > 0) {
    if (strncmp(line, "signal", 6) == 0) {
      Oom(signal);
    } else if (strncmp(line, "exits ", 6) == 0) {
      Exits(line + 6);
    } else {
      for (int i = 0; i < count; ++i) printf("%lld%c", at[i], i + 1 < count ? ' ' : '\n');
      fflush(stdout);
    }
  }
  return 0;
}
