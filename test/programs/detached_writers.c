// Gives its terminal up, so that its end hangs nobody up, and leaves children that write to it without end.
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void) {
  char bytes[4096];
  memset(bytes, 'x', sizeof(bytes));
  signal(SIGHUP, SIG_IGN);
  ioctl(0, TIOCNOTTY);
  for (int child = 0; child < 4; ++child) {
    if (fork() == 0) {
      for (;;) {
        if (write(1, bytes, sizeof(bytes)) < 0) _exit(1);
      }
    }
  }
  usleep(200000);
  return 0;
}
