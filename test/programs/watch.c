// A hostile container that waits for every new process and looks at all that /proc shows of it, from its
// first moment on; prints what is not the container's own, each kind once.
//
//   watch look|stop|trace|rob MARKER NEEDLE
//
// "stop" holds the process by SIGSTOP meanwhile, "trace" stops it at each of its system calls by ptrace(2).
// MARKER is a file that only the host has; NEEDLE is a path of the host that must be nowhere. "ready" first;
// after each line on stdin it prints "early N": how many it has seen so far before they ran their program.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kText = 1 << 16, kFindings = 64, kSteps = 400 };

static const char* marker;
static const char* needle;
static char findings[kFindings][32];
static int found;
static long early;
// Of this process itself, to compare with.
static char own_mounts[kText], own_cgroup[kText];
static char own_ns[8][64];
static const char* const kNamespaces[8] = {"mnt", "net", "ipc", "uts", "user", "cgroup", "pid", "time"};

static ssize_t ReadText(int pid, const char* file, char* out) {
  char path[64];
  if (pid == 0)
    snprintf(path, sizeof(path), "/proc/self/%s", file);
  else
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t size = 0, n = 0;
  while (size < kText - 1 && (n = read(fd, out + size, (size_t)(kText - 1 - size))) > 0) size += n;
  close(fd);
  out[size] = '\0';
  return n < 0 ? -1 : size;
}

static void Found(const char* kind, const char* value) {
  for (int i = 0; i < found; ++i) {
    if (strcmp(findings[i], kind) == 0) return;
  }
  if (found < kFindings) snprintf(findings[found++], sizeof(findings[0]), "%s", kind);
  printf("%s: %.*s\n", kind, (int)strcspn(value, "\n"), value);
  fflush(stdout);
}

static void Compare(int pid, const char* file, const char* own) {
  static char text[kText];
  // A process that has ended meanwhile shows a part of it, or nothing.
  if (ReadText(pid, file, text) <= 0 || strncmp(own, text, strlen(text)) == 0) return;
  // Of every process that is forked the kernel shows the root cgroup for a moment, before it attaches it to
  // its own (cgroup_post_fork), also of one that a container forks itself.
  static char again[kText];
  if (strcmp(file, "cgroup") == 0 && strstr(text, ":/../") == NULL && ReadText(pid, file, again) > 0 &&
      strncmp(own, again, strlen(again)) == 0)
    return;
  size_t at = 0;
  while (text[at] == own[at]) ++at;
  while (at > 0 && text[at - 1] != '\n') --at;
  Found(file, text + at);
}

static void Search(int pid, const char* file, const char* what) {
  static char text[kText];
  ssize_t size = ReadText(pid, file, text);
  const char* at = size > 0 ? memmem(text, (size_t)size, what, strlen(what)) : NULL;
  if (at != NULL) Found(file, at);
}

static void LookAtLink(int pid, const char* name) {
  char path[96], target[512];
  snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n <= 0) return;
  target[n] = '\0';
  if (strncmp(name, "ns/", 3) == 0) {
    for (int i = 0; i < 8; ++i) {
      if (strcmp(name + 3, kNamespaces[i]) == 0 && strcmp(target, own_ns[i]) != 0) Found(name, target);
    }
    return;
  }
  if (strncmp(name, "fd/", 3) == 0) {
    // No socket, which could carry descriptors to the shim, and no master of a terminal.
    static const char* const kFine[] = {"pipe:", "/dev/null", "/dev/pts/", "/bin/", "/etc/", "/null"};
    for (size_t i = 0; i < sizeof(kFine) / sizeof(kFine[0]); ++i) {
      if (strncmp(target, kFine[i], strlen(kFine[i])) == 0) return;
    }
    Found("fd", target);
    return;
  }
  if (strstr(target, needle) != NULL) Found(name, target);
  if (strcmp(name, "cwd") != 0 && strcmp(name, "root") != 0) return;
  char inside[1024];
  snprintf(inside, sizeof(inside), "%s%s%s", path, name[0] == 'c' ? "/shim.lock" : "",
           name[0] == 'c' ? "" : marker);
  if (access(inside, F_OK) == 0) Found(name, inside);
}

static void LookAtDescriptors(int pid) {
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  for (int fd = 0; fd < 24; ++fd) {
    char name[16];
    snprintf(name, sizeof(name), "fd/%d", fd);
    LookAtLink(pid, name);
    int taken = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    struct stat st;
    if (taken >= 0 && fstat(taken, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode) &&
        !S_ISREG(st.st_mode))
      Found("taken", "a descriptor that is neither pipe, device nor file");
    if (taken >= 0) close(taken);
  }
  if (pidfd >= 0) close(pidfd);
}

static void Look(int pid) {
  Compare(pid, "mountinfo", own_mounts);
  Compare(pid, "cgroup", own_cgroup);
  static const char* const kTexts[] = {"cmdline", "environ", "maps"};
  for (size_t i = 0; i < sizeof(kTexts) / sizeof(kTexts[0]); ++i) Search(pid, kTexts[i], needle);
  Search(pid, "net/unix", "shim.sock");
  static const char* const kLinks[] = {"root", "cwd", "exe"};
  for (size_t i = 0; i < sizeof(kLinks) / sizeof(kLinks[0]); ++i) LookAtLink(pid, kLinks[i]);
  for (int i = 0; i < 8; ++i) {
    char name[16];
    snprintf(name, sizeof(name), "ns/%s", kNamespaces[i]);
    LookAtLink(pid, name);
  }
  LookAtDescriptors(pid);
}

static int Take(int pid, int number) {
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  int taken = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
  close(pidfd);
  struct stat st;
  return taken >= 0 && fstat(taken, &st) == 0 && S_ISFIFO(st.st_mode) ? taken : -1;
}

static void Fill(int pipe) {
  static const char garbage[4096];
  fcntl(pipe, F_SETFL, O_NONBLOCK);
  while (write(pipe, garbage, sizeof(garbage)) > 0) {
  }
}

// Takes the two pipes to the shim (nsexec/report.h), in turns: writes an error of its own making, garbage
// without end, releases the process itself and fills that pipe for the shim, or takes the release away.
static void Rob(int pid) {
  struct {
    int error;
    unsigned on_path;
    char call[32];
  } report = {1, 0, "execve"};
  int failures = Take(pid, 3);
  int go = Take(pid, 4);
  if (failures < 0 || go < 0) return;
  ++early;
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", go);
  int release = open(path, O_WRONLY | O_NONBLOCK);
  static int turn;
  switch (turn++ % 4) {
    case 0:
      (void)!write(failures, &report, sizeof(report));
      break;
    case 1:
      Fill(failures);
      break;
    case 2:
      Fill(release);
      break;
    case 3:
      fcntl(go, F_SETFL, O_NONBLOCK);
      (void)!read(go, &report, sizeof(report));
      break;
  }
  // Left open.
}

// Stops at each system call until the program runs, and looks each time.
static void Trace(char way, int pid) {
  if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0) return;
  if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) != 0) return;
  for (int step = 0; step < kSteps; ++step) {
    int status = 0;
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) return;
    if (way == 'r') {
      Rob(pid);
      break;
    }
    Look(pid);
    if (status >> 16 == PTRACE_EVENT_EXEC) break;
    if (ptrace(PTRACE_SYSCALL, pid, 0, 0) != 0) return;
  }
  ptrace(PTRACE_DETACH, pid, 0, 0);
}

// The newest of this pid namespace (proc_loadavg(5)).
static int LastPid(void) {
  char text[128] = {0};
  int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) exit(1);
  close(fd);
  return atoi(strrchr(text, ' ') + 1);
}

static void Watch(char way, int pid) {
  static char comm[kText];
  if (ReadText(pid, "comm", comm) > 0 && strcmp(comm, "lc-shim\n") == 0 && way != 'r') ++early;
  if (way == 's') kill(pid, SIGSTOP);
  if (way == 't' || way == 'r') Trace(way, pid);
  if (way == 'r') return;
  for (int looks = 0; looks < 4; ++looks) Look(pid);
  if (way == 's') kill(pid, SIGCONT);
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  marker = argv[2];
  needle = argv[3];
  ReadText(0, "mountinfo", own_mounts);
  ReadText(0, "cgroup", own_cgroup);
  for (int i = 0; i < 8; ++i) {
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/ns/%s", kNamespaces[i]);
    (void)!readlink(path, own_ns[i], sizeof(own_ns[i]) - 1);
  }
  printf("ready\n");
  fflush(stdout);
  int done = getpid();
  for (;;) {
    struct pollfd input = {0, POLLIN, 0};
    char line[64];
    if (poll(&input, 1, 0) > 0) {
      if (read(0, line, sizeof(line)) <= 0) return 0;
      printf("early %ld\n", early);
      fflush(stdout);
    }
    // Numbers are handed out in turn, so the next one is known: it is waited for, and looked at when it is
    // there.
    const int next = LastPid() + 1;
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d", next);
    for (int tries = 0; tries < 300; ++tries) {
      if (access(path, F_OK) != 0) continue;
      Watch(argv[1][0], next);
      done = next;
      break;
    }
    // What came too fast for that.
    for (int pid = LastPid(); pid > done && pid > next - 4; --pid) {
      snprintf(path, sizeof(path), "/proc/%d", pid);
      if (access(path, F_OK) == 0) Watch(argv[1][0], pid);
    }
    done = done > next - 1 ? done : next - 1;
  }
}
