// Stands for a shim, whose n-th system call of one kind fails: LIBCONTAINER_FAULT is what strace(1) injects, and
// LIBCONTAINER_FAULT_SHIM the real one. strace counts by process, so the shim's own calls are those since its fork.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  const char *fault = getenv("LIBCONTAINER_FAULT");
  const char *shim = getenv("LIBCONTAINER_FAULT_SHIM");
  const char *trace = getenv("LIBCONTAINER_FAULT_TRACE");
  const char *named = getenv("LIBCONTAINER_FAULT_NAMED");
  if (argc != 2 || fault == NULL || shim == NULL || trace == NULL) return 64;
  if (named != NULL) {
    // Under strace by now: by the name that a shim has.
    char *words[] = {(char *)"libcontainer-shim", argv[1], NULL};
    unsetenv("LIBCONTAINER_FAULT_NAMED");
    execv(shim, words);
    return 65;
  }
  setenv("LIBCONTAINER_FAULT_NAMED", "1", 1);
  // This program's own path: it runs from a copy in memory.
  const char *again = getenv("LIBCONTAINER_FAULT_SELF");
  if (again == NULL) return 64;
  // As a grandchild of this process (-D), whose pid the addon waits for.
  if (*fault == '\0') {
    execlp("strace", "strace", "-I1", "-D", "-f", "-qq", "-o", trace, again, argv[1], (char *)NULL);
  } else {
    char inject[256];
    char only[256];
    size_t call = strcspn(fault, ":");
    snprintf(inject, sizeof(inject), "--inject=%s", fault);
    snprintf(only, sizeof(only), "--trace=%.*s", (int)call, fault);
    execlp("strace", "strace", "-I1", "-D", "-f", "-qq", "-o", "/dev/null", only, inject, again, argv[1], (char *)NULL);
  }
  return 66;
}
