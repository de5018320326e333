// Prints the seccomp filters of a process, newest first, as the kernel holds them: a line of hexadecimal
// bytes for each. Root's ptrace(2) and a kernel with CONFIG_CHECKPOINT_RESTORE.
#include <errno.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  static struct sock_filter program[32768];
  if (argc != 2) return 64;
  long pid = atol(argv[1]);
  if (syscall(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0) != 0) return perror("PTRACE_SEIZE"), 1;
  if (syscall(SYS_ptrace, PTRACE_INTERRUPT, pid, 0, 0) != 0) return perror("PTRACE_INTERRUPT"), 1;
  int status = 0;
  if (waitpid((pid_t)pid, &status, __WALL) != pid) return perror("waitpid"), 1;
  for (unsigned long index = 0;; ++index) {
    long count = syscall(SYS_ptrace, PTRACE_SECCOMP_GET_FILTER, pid, index, program);
    if (count < 0 && errno == ENOENT) break;
    if (count < 0) return perror("PTRACE_SECCOMP_GET_FILTER"), 1;
    const unsigned char* bytes = (const unsigned char*)program;
    for (size_t i = 0; i < (size_t)count * sizeof(program[0]); ++i) printf("%02x", bytes[i]);
    printf("\n");
  }
  syscall(SYS_ptrace, PTRACE_DETACH, pid, 0, 0);
  return 0;
}
