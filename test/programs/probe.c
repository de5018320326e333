// Prints all that a process can learn about itself, a line for each fact, in a fixed order; numbers that differ
// from one process to the next (pids, inodes, memory, times) are left out or given as what they relate to. The text
// goes to stdout or, where that is a terminal, to /tmp/report.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

extern char** environ;

static int starts(const char* text, const char* prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

// proc(5): lines of /proc/self/status that are about this one process, not about what it is.
static int varies(const char* line) {
  static const char* const kNames[] = {"Tgid:", "Pid:",    "Ngid:",    "NStgid:", "NSpid:", "NSpgid:",   "NSsid:",
                                       "Vm",    "Rss",     "Hugetlb",  "volunt",  "nonvol", "FDSize:",   "SigQ:",
                                       "Mems_allowed:", "PPid:"};
  for (size_t i = 0; i < sizeof(kNames) / sizeof(kNames[0]); ++i) {
    if (starts(line, kNames[i])) return 1;
  }
  return 0;
}

static void print_file(const char* path, int (*skip)(const char*)) {
  FILE* file = fopen(path, "re");
  if (file == NULL) {
    printf("%s: %s\n", path, strerror(errno));
    return;
  }
  char* line = NULL;
  size_t size = 0;
  while (getline(&line, &size, file) > 0) {
    if (skip == NULL || !skip(line)) printf("%s: %s", path, line);
  }
  free(line);
  fclose(file);
}

static void print_descriptors(void) {
  for (int fd = 0; fd < 4096; ++fd) {
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (fd > 2 && fd == fileno(stdout))) continue;
    struct stat st;
    char path[64];
    char target[4096];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    target[n < 0 ? 0 : n] = '\0';
    char* bracket = strchr(target, '[');
    if (bracket != NULL) *bracket = '\0';  // pipe:[inode]
    fstat(fd, &st);
    printf("fd %d: %s mode %o uid %u gid %u device %u:%u flags %x %x\n", fd, target, st.st_mode, st.st_uid,
           st.st_gid, major(st.st_rdev), minor(st.st_rdev), flags,
           fcntl(fd, F_GETFL) & ~0100000);  // O_LARGEFILE, which says nothing on 64 bits
  }
}

static void print_terminal(void) {
  struct winsize size;
  printf("tty: %d %d\n", isatty(0), isatty(1));
  if (ioctl(0, TIOCGWINSZ, &size) == 0) printf("winsize: %d %d\n", size.ws_row, size.ws_col);
  int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
  printf("controlling terminal: %s\n", fd >= 0 ? ttyname(0) == NULL ? "no name" : "yes" : strerror(errno));
  if (fd >= 0) {
    printf("foreground: %d\n", tcgetpgrp(fd) == getpgrp());
    close(fd);
  }
}

static void print_keyring(void) {
  long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
  char text[256] = "";
  if (id < 0 || syscall(SYS_keyctl, KEYCTL_DESCRIBE, id, text, sizeof(text) - 1) < 0) {
    printf("keyring: %s\n", strerror(errno));
  } else {
    printf("keyring: %s\n", text);
  }
}

struct attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t util_min, util_max;
};

int main(int argc, char** argv) {
  // A runtime's command that stands in front of a terminal adds words of its own to what is written there.
  if (isatty(1)) {
    stdout = fopen("/tmp/report", "we");
    if (stdout == NULL) return 1;
  }
  for (int i = 0; i < argc; ++i) printf("argv %d: %s\n", i, argv[i]);
  for (char** entry = environ; *entry != NULL; ++entry) printf("environ: %s\n", *entry);
  print_file("/proc/self/status", varies);
  print_file("/proc/self/limits", NULL);
  print_file("/proc/self/cgroup", NULL);
  print_file("/proc/self/oom_score_adj", NULL);
  print_file("/proc/self/timerslack_ns", NULL);
  print_file("/proc/self/attr/current", NULL);
  print_file("/proc/self/uid_map", NULL);
  print_file("/proc/self/setgroups", NULL);
  print_file("/proc/self/timens_offsets", NULL);
  print_file("/proc/self/coredump_filter", NULL);
  print_file("/proc/self/mountinfo", NULL);
  print_descriptors();

  static const char* const kNamespaces[] = {"cgroup", "ipc", "mnt",  "net",  "pid",
                                            "pid_for_children", "time", "time_for_children", "user", "uts"};
  char text[4096];
  for (size_t i = 0; i < sizeof(kNamespaces) / sizeof(kNamespaces[0]); ++i) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/ns/%s", kNamespaces[i]);
    ssize_t n = readlink(path, text, sizeof(text) - 1);
    printf("%s: %.*s\n", path, (int)(n < 0 ? 0 : n), text);
  }
  printf("cwd: %s\n", getcwd(text, sizeof(text)) == NULL ? strerror(errno) : text);
  ssize_t n = readlink("/proc/self/root", text, sizeof(text) - 1);
  printf("root: %.*s\n", (int)(n < 0 ? 0 : n), text);
  n = readlink("/proc/self/exe", text, sizeof(text) - 1);
  printf("exe: %.*s\n", (int)(n < 0 ? 0 : n), text);

  uid_t ruid, euid, suid;
  gid_t rgid, egid, sgid;
  getresuid(&ruid, &euid, &suid);
  getresgid(&rgid, &egid, &sgid);
  printf("ids: %u %u %u %u %u %u\n", ruid, euid, suid, rgid, egid, sgid);
  gid_t groups[1024];
  int count = getgroups(1024, groups);
  printf("groups:");
  for (int i = 0; i < count; ++i) printf(" %u", groups[i]);
  printf("\nsession leader: %d, group leader: %d, parent inside: %d\n", getsid(0) == getpid(), getpgrp() == getpid(),
         getppid() != 0);
  mode_t mask = umask(0);
  umask(mask);
  printf("umask: %o\npersonality: %x\n", mask, personality(0xffffffff));
  int signal_number = -1, subreaper = -1;
  prctl(PR_GET_PDEATHSIG, &signal_number);
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  printf("securebits: %x, dumpable: %d, keepcaps: %d, pdeathsig: %d, subreaper: %d, timing: %d, thp: %d, tsc: %d\n",
         prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS), signal_number, subreaper,
         prctl(PR_GET_TIMING), prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
  for (int i = 1; i <= 64; ++i) {
    // Raw: libc keeps two for itself.
    struct {
      void (*handler)(int);
      unsigned long flags;
      void (*restorer)(void);
      unsigned long mask;
    } action;
    memset(&action, 0, sizeof(action));
    if (syscall(SYS_rt_sigaction, i, NULL, &action, 8) != 0 || action.handler != SIG_DFL || action.flags != 0) {
      printf("signal %d: %p %lx\n", i, (void*)(uintptr_t)action.handler, action.flags);
    }
  }
  struct attributes attributes;
  memset(&attributes, 0, sizeof(attributes));
  syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0);
  printf("scheduler: %u %llx %d %u\n", attributes.policy, (unsigned long long)attributes.flags, attributes.nice,
         attributes.priority);
  printf("ioprio: %lx, nice: %d\n", syscall(SYS_ioprio_get, 1, 0), getpriority(PRIO_PROCESS, 0));
  print_keyring();
  print_terminal();
  printf("end\n");
  fflush(stdout);
  return 0;
}
