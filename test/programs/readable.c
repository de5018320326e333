// readable MS: whether standard input becomes readable within that time; exits with 0 or 1 and reads nothing.
#include <poll.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  struct pollfd ready = {0, POLLIN, 0};
  return argc == 2 && poll(&ready, 1, atoi(argv[1])) == 1 ? 0 : 1;
}
