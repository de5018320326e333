// The least that the cgroup calls cost: the system calls on the very files, and nothing made of what they say. No text
// is parsed, nothing is looked for, nobody is told.
//
// Reads commands, one a line, and answers each with one line, the nanoseconds of each of COUNT passes:
//   open LIST COUNT               opens, reads and closes every file that LIST names, one path a line
//   keep LIST COUNT               reads them from descriptors that it keeps (opened before, not measured)
//   freeze STATE COUNT            freezer.state: opens, writes FROZEN, reads until it says so, closes; the same with THAWED
//   update FILE COUNT RECORD      opens, writes and closes a control file, two numbers in turn; reads a record, writes it
//                                 to a temporary file and renames that to RECORD
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kMaxPasses = 100000, kMaxText = 1 << 20 };

struct List {
  char* text;
  char** paths;
  int* fds;
  size_t count;
};

static char text[kMaxText];
static long long took[kMaxPasses];

static void Die(const char* what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct List ReadList(const char* path) {
  FILE* file = fopen(path, "re");
  if (file == NULL) Die(path);
  struct List list = {0};
  size_t room = 0;
  ssize_t length = getdelim(&list.text, &room, '\0', file);
  fclose(file);
  if (length < 1) Die(path);
  for (char* at = strtok(list.text, "\n"); at != NULL; at = strtok(NULL, "\n")) {
    if ((list.count & (list.count - 1)) == 0) {
      list.paths = realloc(list.paths, (list.count ? list.count * 2 : 1) * sizeof(char*));
      if (list.paths == NULL) Die("realloc");
    }
    list.paths[list.count++] = at;
  }
  return list;
}

static void FreeList(struct List* list) {
  free(list->text);
  free(list->paths);
  free(list->fds);
}

// A kernel file of this kind comes whole with one read; what is cut off by an error is a floor that is no floor.
static void Open(const struct List* list) {
  for (size_t i = 0; i < list->count; ++i) {
    int fd = open(list->paths[i], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text)) < 0) Die(list->paths[i]);
    close(fd);
  }
}

static void Keep(const struct List* list) {
  for (size_t i = 0; i < list->count; ++i) {
    if (pread(list->fds[i], text, sizeof(text), 0) < 0) Die(list->paths[i]);
  }
}

static void SetState(const char* path, const char* state) {
  size_t length = strlen(state);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) Die(path);
  for (;;) {
    if (pwrite(fd, state, length, 0) < 0) Die(path);
    ssize_t n = pread(fd, text, sizeof(text), 0);
    if (n < 0) Die(path);
    if ((size_t)n >= length && memcmp(text, state, length) == 0) break;
    sched_yield();  // a process freezes by running
  }
  close(fd);
}

// Two calls, of which neither knows of the other.
static void Freeze(const char* path) {
  SetState(path, "FROZEN");
  SetState(path, "THAWED");
}

static void Update(const char* control, const char* record, int serial) {
  char temporary[4096];
  snprintf(temporary, sizeof(temporary), "%s.floor", record);
  int fd = open(control, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, serial % 2 ? "1001" : "1000", 4) != 4) Die(control);
  close(fd);
  fd = open(record, O_RDONLY | O_CLOEXEC);
  if (fd < 0) Die(record);
  ssize_t length = read(fd, text, sizeof(text));
  if (length < 0) Die(record);
  close(fd);
  fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, text, (size_t)length) != length) Die(temporary);
  close(fd);
  if (rename(temporary, record) != 0) Die(record);
}

int main(void) {
  char* line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    char kind[16], path[4096], record[4096] = "";
    int count = 0;
    if (sscanf(line, "%15s %4095s %d %4095s", kind, path, &count, record) < 3 || count < 1 || count > kMaxPasses) {
      fprintf(stderr, "floor: no command: %s", line);
      return 2;
    }
    int open_each = strcmp(kind, "open") == 0;
    int keep = strcmp(kind, "keep") == 0;
    int freeze = strcmp(kind, "freeze") == 0;
    struct List list = {0};
    if (open_each || keep) list = ReadList(path);
    if (keep) {
      list.fds = calloc(list.count, sizeof(int));
      for (size_t i = 0; i < list.count; ++i) {
        list.fds[i] = open(list.paths[i], O_RDONLY | O_CLOEXEC);
        if (list.fds[i] < 0) Die(list.paths[i]);
      }
    }
    for (int i = 0; i < count; ++i) {
      long long before = Now();
      if (open_each) {
        Open(&list);
      } else if (keep) {
        Keep(&list);
      } else if (freeze) {
        Freeze(path);
      } else {
        Update(path, record, i);
      }
      took[i] = Now() - before;
    }
    for (size_t i = 0; keep && i < list.count; ++i) close(list.fds[i]);
    FreeList(&list);
    // Printed at the end, so that nobody who reads along disturbs the passes.
    for (int i = 0; i < count; ++i) printf("%lld%c", took[i], i + 1 < count ? ' ' : '\n');
    fflush(stdout);
  }
  return 0;
}
