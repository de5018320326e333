// Processes that do nothing, for cgroups that want some: `sleepers COUNT` forks so many and prints their pids on one
// line. They end with it, and it ends with its standard input.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  int count = argc == 2 ? atoi(argv[1]) : 0;
  if (count < 1) {
    fprintf(stderr, "usage: sleepers COUNT\n");
    return 2;
  }
  pid_t self = getpid();
  pid_t* pids = calloc((size_t)count, sizeof(pid_t));
  if (pids == NULL) return 1;
  for (int i = 0; i < count; ++i) {
    pid_t pid = fork();
    if (pid < 0) {
      perror("sleepers: fork");
      return 1;
    }
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != self) _exit(1);
      for (;;) pause();
    }
    pids[i] = pid;
  }
  for (int i = 0; i < count; ++i) printf("%d%c", pids[i], i + 1 < count ? ' ' : '\n');
  fflush(stdout);
  while (getchar() != EOF) {
  }
  for (int i = 0; i < count; ++i) kill(pids[i], SIGKILL);
  for (int i = 0; i < count; ++i) waitpid(pids[i], NULL, 0);
  return 0;
}
