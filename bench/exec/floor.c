// The least that a process in a container costs: join its cgroups, enter its namespaces, fork, execve, wait, and
// nothing else; no confinement, no record, no answer to anyone. Below this no exec can come.
//
//   floor INIT_PID CGROUP_PROCS... -- PROGRAM ARGS...
//
// Stays, and reads commands: "run N" runs the program N times, one after the other, and prints the nanoseconds of
// each on one line.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
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
static int own_pid_namespace;
static int namespaces;  // all that differ from this program's own, but the pid namespace
static int enters_pid_namespace;
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
              {"uts", CLONE_NEWUTS},   {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80}};
  for (size_t i = 0; i < sizeof(kAll) / sizeof(kAll[0]); ++i) {
    if (Differs(pid, kAll[i].name)) namespaces |= kAll[i].flag;
  }
  enters_pid_namespace = Differs(pid, "pid");
}

// The descriptors are opened anew each time, as a program that keeps nothing between two execs has to.
static void Child(void) {
  for (char** path = cgroup_procs; *path != NULL; ++path) {
    int fd = open(*path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) Die(*path);
    close(fd);
  }
  if (namespaces != 0 && setns(init_pidfd, namespaces) != 0) Die("setns");
  char* environment[] = {"PATH=/bin", NULL};
  execve(program[0], program, environment);
  Die(program[0]);
}

static void RunOnce(void) {
  if (enters_pid_namespace && setns(init_pidfd, CLONE_NEWPID) != 0) Die("setns pid");
  pid_t pid = fork();
  if (pid < 0) Die("fork");
  if (pid == 0) Child();
  if (enters_pid_namespace && setns(own_pid_namespace, CLONE_NEWPID) != 0) Die("setns own pid");
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) Die("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    errno = ECHILD;
    Die("the program did not exit with 0");
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
  own_pid_namespace = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (own_pid_namespace < 0) Die("/proc/self/ns/pid");
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
