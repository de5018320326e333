// The native tests' entry point; the test cases are in the other files.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <pthread.h>

#include <csignal>

int main(int argc, char** argv) {
  // As a shim does: a write into a broken pipe fails with EPIPE.
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  return doctest::Context(argc, argv).run();
}
