#include "nsexec/clone.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace lc::nsexec {

long CloneOnto(clone_args* args, int (*run)(void*), void* argument) {
#if defined(__x86_64__)
  long result = SYS_clone3;
  register auto r12 __asm__("r12") = argument;
  register auto r13 __asm__("r13") = run;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call *%%r13\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(args), "S"(sizeof(*args)), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory", "cc");
  return result;
#elif defined(__aarch64__)
  register auto x0 __asm__("x0") = reinterpret_cast<long>(args);
  register auto x1 __asm__("x1") = sizeof(*args);
  register auto x8 __asm__("x8") = static_cast<long>(SYS_clone3);
  register auto x19 __asm__("x19") = argument;
  register auto x20 __asm__("x20") = run;
  __asm__ volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x19\n\t"
      "blr x20\n\t"
      "brk #0\n"
      "1:"
      : "+r"(x0)
      : "r"(x1), "r"(x8), "r"(x19), "r"(x20)
      : "x30", "memory", "cc");
  return x0;
#else
  (void)args, (void)run, (void)argument;
  return -ENOSYS;
#endif
}

}  // namespace lc::nsexec
