// without NAME=ERRNO... -- PROGRAM ARGS: runs the program on a kernel that lacks the named calls, as far as it and all
// that it starts can tell: a seccomp filter answers them with the error. `setns-pidfd` is setns(2) with more than one
// kind of namespace, which only a pidfd can serve; `pidfd-info` and `pt-peer` are each an ioctl(2). Started in a shim's
// place it is one that lacks what WITHOUT says, a single NAME=ERRNO, and runs WITHOUT_SHIM.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBER offsetof(struct seccomp_data, nr)
#define SECOND_ARGUMENT offsetof(struct seccomp_data, args[1])
#define PIDFD_GET_INFO_1 _IOWR(0xFF, 11, char[72])
#define PT_PEER 0x5441

static const struct {
  const char* name;
  int number;
} kCalls[] = {
    {"clone3", 435},      {"pidfd_open", 434}, {"close_range", 436}, {"openat2", 437},   {"pidfd_send_signal", 424},
    {"faccessat2", 439},  {"statx", SYS_statx}, {"renameat2", SYS_renameat2}, {"mount_setattr", 442},
    {"memfd_create", SYS_memfd_create},
};

static int is(const char* text, size_t length, const char* name) {
  return strlen(name) == length && strncmp(text, name, length) == 0;
}

static int call_number(const char* name, size_t length) {
  for (size_t i = 0; i < sizeof(kCalls) / sizeof(kCalls[0]); ++i) {
    if (is(name, length, kCalls[i].name)) return kCalls[i].number;
  }
  return -1;
}

static int error_number(const char* name) {
  if (strcmp(name, "ENOSYS") == 0) return ENOSYS;
  if (strcmp(name, "EINVAL") == 0) return EINVAL;
  if (strcmp(name, "ENOTTY") == 0) return ENOTTY;
  return -1;
}

static int usage(const char* what) {
  fprintf(stderr, "without: what is %s?\n", what);
  return 2;
}

// Runs argv[at + 1], which sees `name` as its own, or what it was called by.
static int run(int argc, char** argv, char* name) {
  struct sock_filter program[256];
  unsigned short n = 0;
  int at = 1;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    const char* equals = strchr(argv[at], '=');
    int answer = equals == NULL ? -1 : error_number(equals + 1);
    if (answer < 0 || n > 200) return usage(argv[at]);
    size_t length = (size_t)(equals - argv[at]);
    int several = is(argv[at], length, "setns-pidfd");
    unsigned request = is(argv[at], length, "pidfd-info") ? PIDFD_GET_INFO_1 : is(argv[at], length, "pt-peer") ? PT_PEER : 0;
    int number = several ? SYS_setns : request ? SYS_ioctl : call_number(argv[at], length);
    if (number < 0) return usage(argv[at]);
    unsigned char past = several ? 6 : request ? 3 : 1;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NUMBER);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, past);
    if (request) {
      program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SECOND_ARGUMENT);
      program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 1);
    }
    if (several) {
      // x & (x - 1) is 0 for a single bit.
      program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SECOND_ARGUMENT);
      program[n++] = (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0);
      program[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 1);
      program[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_X, 0);
      program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    }
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)answer);
  }
  if (at + 1 >= argc) return usage("the program");
  program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {n, program};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
    perror("without: seccomp");
    return 1;
  }
  const char* path = argv[at + 1];
  if (name != NULL) argv[at + 1] = name;
  execvp(path, argv + at + 1);
  perror(path);
  return 127;
}

int main(int argc, char** argv) {
  char* lacks = getenv("WITHOUT");
  char* shim = getenv("WITHOUT_SHIM");
  if (argc == 2 && strcmp(argv[0], "libcontainer-shim") == 0 && lacks != NULL && shim != NULL) {
    char* words[] = {argv[0], lacks, (char*)"--", shim, argv[1], NULL};
    return run(5, words, argv[0]);
  }
  return run(argc, argv, NULL);
}
