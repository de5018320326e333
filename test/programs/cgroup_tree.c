// cgroup_tree make DEPTH COUNT NAME [PID]: makes cgroups in the working directory, DEPTH of them in each other, all
// named NAME, and COUNT side by side in the last one; moves PID to the innermost. By relative paths, so that no length
// limits the depth.
// cgroup_tree freeze: freezes each innermost cgroup, and awaits that v1 says so.
// cgroup_tree thaw: thaws the first one at each depth.
// cgroup_tree remove: removes all below the working directory.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static int put(const char* file, const char* text) {
  int fd = open(file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  close(fd);
  return n < 0 ? -1 : 0;
}

static void copy(const char* file) {
  char from[300], text[4096] = {0};
  snprintf(from, sizeof from, "../%s", file);
  int fd = open(from, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (read(fd, text, sizeof text - 1) > 0) (void)!put(file, text);
  close(fd);
}

static void enter(const char* name) {
  if (mkdir(name, 0755) != 0 && errno != EEXIST) fail("mkdir");
  if (chdir(name) != 0) fail("chdir");
  // A v1 cpuset takes no process before it has both.
  if (access("cpuset.memory_migrate", F_OK) == 0) {
    copy("cpuset.cpus");
    copy("cpuset.mems");
  }
}

// The first directory here, or an empty name.
static void first(char* name, size_t size) {
  DIR* list = opendir(".");
  if (!list) fail("opendir");
  name[0] = 0;
  for (struct dirent* entry = readdir(list); entry; entry = readdir(list)) {
    if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    snprintf(name, size, "%s", entry->d_name);
    break;
  }
  closedir(list);
}

static void make(int argc, char** argv) {
  if (argc < 5) exit(2);
  for (int i = atoi(argv[2]); i > 0; --i) enter(argv[4]);
  for (int i = atoi(argv[3]); i > 0; --i) {
    char name[32];
    snprintf(name, sizeof name, "side-%d", i);
    if (mkdir(name, 0755) != 0) fail("mkdir");
  }
  if (argc > 5 && put("cgroup.procs", argv[5]) != 0) fail("cgroup.procs");
}

static void freeze(void) {
  char name[256];
  for (first(name, sizeof name); name[0]; first(name, sizeof name)) {
    if (chdir(name) != 0) fail("chdir");
  }
  if (access("cgroup.freeze", F_OK) == 0) {
    if (put("cgroup.freeze", "1") != 0) fail("cgroup.freeze");
    return;
  }
  for (int i = 0; i < 2000; ++i) {
    char state[16] = {0};
    if (i % 10 == 9) (void)!put("freezer.state", "THAWED");
    if (put("freezer.state", "FROZEN") != 0) fail("freezer.state");
    int fd = open("freezer.state", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, state, sizeof state - 1);
    close(fd);
    if (n > 0 && !strcmp(state, "FROZEN\n")) return;
    usleep(10000);
  }
  errno = ETIMEDOUT;
  fail("freezer.state");
}

static void thaw(void) {
  char name[256];
  do {
    (void)!put("freezer.state", "THAWED");
    (void)!put("cgroup.freeze", "0");
    first(name, sizeof name);
  } while (name[0] && chdir(name) == 0);
}

static void clear(void) {
  char** names = NULL;
  size_t depth = 0;
  char name[256];
  for (;;) {
    first(name, sizeof name);
    if (name[0]) {
      names = realloc(names, (depth + 1) * sizeof *names);
      names[depth++] = strdup(name);
      if (chdir(name) != 0) fail("chdir");
      continue;
    }
    if (depth == 0) return;
    if (chdir("..") != 0) fail("chdir");
    for (int i = 0; rmdir(names[depth - 1]) != 0; ++i) {
      if (errno != EBUSY || i == 500) fail("rmdir");
      usleep(10000);
    }
    free(names[--depth]);
  }
}

int main(int argc, char** argv) {
  if (argc > 1 && !strcmp(argv[1], "make")) {
    make(argc, argv);
  } else if (argc > 1 && !strcmp(argv[1], "freeze")) {
    freeze();
  } else if (argc > 1 && !strcmp(argv[1], "thaw")) {
    thaw();
  } else if (argc > 1 && !strcmp(argv[1], "remove")) {
    clear();
  } else {
    return 2;
  }
  return 0;
}
