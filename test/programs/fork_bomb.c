// Doubles itself without end, each time in a session of its own whose leader exits; "grown" once it has seen that there is no
// room for more.
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  int told = 0;
  for (;;) {
    pid_t child = fork();
    if (child == 0) {
      setsid();
      // Both go on in the loop.
      if (fork() < 0) _exit(1);
      told = 1;
    } else if (child < 0 && errno == EAGAIN && !told) {
      told = 1;
      if (write(1, "grown\n", 6) != 6) return 1;
    }
    while (waitpid(-1, 0, WNOHANG) > 0) {
    }
  }
}
