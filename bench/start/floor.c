// The least that the life of a container costs while a runtime makes it: the runtime's own three processes,
// one after the other, started from a small C program that waits for each and tells nobody.
//
//   floor RUNTIME RECORDS BUNDLE
//
// Reads lines "life ID COUNT" and answers each with one line: for each of COUNT lives the nanoseconds of
// create and start together, and those of delete. Between them it waits until the container's program has
// ended, which is in neither.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kMaxLives = 1000 };

extern char** environ;
static posix_spawn_file_actions_t quiet;

static void Die(const char* what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void Run(char** args) {
  pid_t pid;
  int status;
  errno = posix_spawnp(&pid, args[0], &quiet, NULL, args, environ);
  if (errno != 0) Die(args[0]);
  if (waitpid(pid, &status, 0) != pid) Die("waitpid");
  if (status != 0) {
    fprintf(stderr, "floor: %s %s ended with status %d\n", args[0], args[2], status);
    exit(1);
  }
}

// Its parent, which is whoever reaps orphans here, may take its time.
static int HasEnded(long pid) {
  char path[64], text[1024];
  snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 1;
  ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (length <= 0) return 1;
  text[length] = '\0';
  const char* state = strrchr(text, ')');
  return state == NULL || state[2] == 'Z' || state[2] == 'X';
}

static long ReadPid(const char* path) {
  FILE* file = fopen(path, "re");
  long pid = 0;
  if (file == NULL || fscanf(file, "%ld", &pid) != 1) Die(path);
  fclose(file);
  unlink(path);
  return pid;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: floor RUNTIME RECORDS BUNDLE\n");
    return 2;
  }
  static long long took[kMaxLives][2];
  char root[4096], pid_file[4096], line[512], name[256], id[512];
  snprintf(root, sizeof(root), "--root=%s", argv[2]);
  snprintf(pid_file, sizeof(pid_file), "%s.floor-pid", argv[2]);
  posix_spawn_file_actions_init(&quiet);
  for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_RDWR, 0);
  int serial = 0, count;
  while (fgets(line, sizeof(line), stdin) != NULL) {
    if (sscanf(line, "life %255s %d", name, &count) != 2 || count < 1 || count > kMaxLives) {
      fprintf(stderr, "floor: no command: %s", line);
      return 2;
    }
    for (int i = 0; i < count; ++i) {
      snprintf(id, sizeof(id), "%s-%d", name, ++serial);
      char* create[] = {argv[1], root, "create", "--bundle", argv[3], "--pid-file", pid_file, id, NULL};
      char* start[] = {argv[1], root, "start", id, NULL};
      char* delete[] = {argv[1], root, "delete", id, NULL};
      long long before = Now();
      Run(create);
      Run(start);
      took[i][0] = Now() - before;
      long pid = ReadPid(pid_file);
      while (!HasEnded(pid)) usleep(200);
      before = Now();
      Run(delete);
      took[i][1] = Now() - before;
    }
    for (int i = 0; i < count; ++i) printf("%lld %lld%c", took[i][0], took[i][1], i + 1 < count ? ' ' : '\n');
    fflush(stdout);
  }
  return 0;
}
