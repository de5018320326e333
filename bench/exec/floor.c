// The least that a process in a container costs that shows it nothing of the host: fork, join its cgroups and namespaces,
// fork into its pid namespace, execve, wait, and nothing else; no confinement, no record, no answer to anyone. Below this no exec can come.
//
//   floor INIT_PID CGROUP_PROCS... -- PROGRAM ARGS...
//
// Stays, and reads commands: "run N" runs the program N times, one after the other, and prints the nanoseconds of
// each on one line.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kMaxRuns = 100000 };

static int init_pidfd;
static int namespaces;  // all that differ from this program's own
static char** cgroup_procs;  // ends with NULL
static char** program;

static void Die(const char* what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int Differs(int pid, const char* name) {
  char path[64];
  struct stat mine, theirs;
  snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
  if (stat(path, &mine) != 0) return 0;
  snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
  if (stat(path, &theirs) != 0) Die(path);
  return mine.st_ino != theirs.st_ino;
}

static void FindNamespaces(int pid) {
  static const struct {
    const char* name;
    int flag;
  } kAll[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},        {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC},
              {"uts", CLONE_NEWUTS},   {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80},         {"pid", CLONE_NEWPID}};
  for (size_t i = 0; i < sizeof(kAll) / sizeof(kAll[0]); ++i) {
    if (Differs(pid, kAll[i].name)) namespaces |= kAll[i].flag;
  }
}

// The process itself: a child of this program's, a member of the container's pid namespace, with nothing of the host.
static int Run(void* nothing) {
  (void)nothing;
  char* environment[] = {"PATH=/bin", NULL};
  execve(program[0], program, environment);
  _exit(127);
}

// What is born in the container's pid namespace is visible there, so another task does the joining. The descriptors are
// opened anew each time, as a program that keeps nothing between two execs has to.
static void Join(void) {
  for (char** path = cgroup_procs; *path != NULL; ++path) {
    int fd = open(*path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) Die(*path);
    close(fd);
  }
  if (namespaces != 0 && setns(init_pidfd, namespaces) != 0) Die("setns");
  if (syscall(SYS_close_range, 3, ~0U, 0) != 0) Die("close_range");
  // The joiner waits for the execve, and shares its memory till then: the cheapest of all ways.
  static char stack[16384];
  _exit(clone(Run, stack + sizeof(stack), CLONE_PARENT | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) < 0);
}

static void RunOnce(void) {
  pid_t joiner = fork();
  if (joiner < 0) Die("fork");
  if (joiner == 0) Join();
  // The joiner and what it made, in whichever order.
  for (int i = 0; i < 2; ++i) {
    int status = 0;
    if (waitpid(-1, &status, 0) < 0) Die("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      errno = ECHILD;
      Die("the program did not exit with 0");
    }
  }
}

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char** argv) {
  int split = 2;
  while (split < argc && strcmp(argv[split], "--") != 0) ++split;
  if (split + 1 >= argc) {
    fprintf(stderr, "usage: floor INIT_PID CGROUP_PROCS... -- PROGRAM ARGS...\n");
    return 2;
  }
  argv[split] = NULL;
  cgroup_procs = argv + 2;
  program = argv + split + 1;
  int pid = atoi(argv[1]);
  init_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (init_pidfd < 0) Die("pidfd_open");
  fcntl(init_pidfd, F_SETFD, FD_CLOEXEC);
  FindNamespaces(pid);

  static long long took[kMaxRuns];
  char line[64];
  while (fgets(line, sizeof(line), stdin) != NULL) {
    int count = 0;
    if (sscanf(line, "run %d", &count) != 1 || count < 1 || count > kMaxRuns) {
      fprintf(stderr, "floor: no command: %s", line);
      return 2;
    }
    for (int i = 0; i < count; ++i) {
      long long before = Now();
      RunOnce();
      took[i] = Now() - before;
    }
    // Printed at the end, so that nobody who reads along disturbs the runs.
    for (int i = 0; i < count; ++i) printf("%lld%c", took[i], i + 1 < count ? ' ' : '\n');
    fflush(stdout);
  }
  return 0;
}
