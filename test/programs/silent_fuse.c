// silent_fuse FILE: puts a FUSE file system over the file, which then reads as a line of passwd(5). Prints "mounted". A line
// "hold" on its standard input makes it answer no open(2) from then on (it prints "held" for each that waits), a line "go"
// answers all of them. At the end of its input it goes away, and so does the mount.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char kText[] = "root:x:0:0::/root:/bin/sh\n";
enum { kMost = 64 };
static int fuse = -1;
static unsigned long long held[kMost];
static int holds = 0;
static int holding = 0;

static void answer(unsigned long long unique, int error, const void* body, size_t size) {
  char out[4096];
  struct fuse_out_header header = {(uint32_t)(sizeof(header) + size), error, unique};
  memcpy(out, &header, sizeof(header));
  if (size > 0) memcpy(out + sizeof(header), body, size);
  if (write(fuse, out, sizeof(header) + size) < 0 && errno != ENOENT) perror("write");
}

static void answer_open(unsigned long long unique) {
  struct fuse_open_out opened = {.fh = 1, .open_flags = FOPEN_DIRECT_IO};
  answer(unique, 0, &opened, sizeof(opened));
}

static void serve(const char* request) {
  const struct fuse_in_header* in = (const struct fuse_in_header*)request;
  const void* body = request + sizeof(*in);
  if (in->opcode == FUSE_INIT) {
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
    answer(in->unique, 0, &init, sizeof(init));
  } else if (in->opcode == FUSE_GETATTR) {
    struct fuse_attr_out attributes = {.attr_valid = 3600};
    attributes.attr.ino = 1;
    attributes.attr.mode = S_IFREG | 0644;
    attributes.attr.nlink = 1;
    attributes.attr.size = sizeof(kText) - 1;
    answer(in->unique, 0, &attributes, sizeof(attributes));
  } else if (in->opcode == FUSE_OPEN && holding && holds < kMost) {
    held[holds++] = in->unique;
    puts("held");
  } else if (in->opcode == FUSE_OPEN) {
    answer_open(in->unique);
  } else if (in->opcode == FUSE_READ) {
    const struct fuse_read_in* read_in = body;
    size_t left = read_in->offset >= sizeof(kText) - 1 ? 0 : sizeof(kText) - 1 - read_in->offset;
    answer(in->unique, 0, kText + sizeof(kText) - 1 - left, left);
  } else if (in->opcode == FUSE_RELEASE || in->opcode == FUSE_FLUSH) {
    answer(in->unique, 0, NULL, 0);
  } else if (in->opcode != FUSE_INTERRUPT && in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET) {
    answer(in->unique, -ENOSYS, NULL, 0);
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  setlinebuf(stdout);
  fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  char options[128];
  snprintf(options, sizeof(options), "fd=%d,rootmode=100644,user_id=0,group_id=0,allow_other", fuse);
  if (fuse < 0 || mount("silent_fuse", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
    perror("fuse");
    return 1;
  }
  puts("mounted");
  struct pollfd ready[2] = {{fuse, POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    if (poll(ready, 2, -1) < 0) break;
    if (ready[0].revents != 0) {
      static char request[1 << 17] __attribute__((aligned(16)));
      ssize_t n = read(fuse, request, sizeof(request));
      if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT) break;
      if (n > 0) serve(request);
    }
    if (ready[1].revents != 0) {
      char word[64];
      ssize_t n = read(0, word, sizeof(word));
      if (n <= 0) break;
      if (word[0] == 'h') holding = 1;
      if (word[0] == 'g') {
        holding = 0;
        while (holds > 0) answer_open(held[--holds]);
      }
    }
  }
  close(fuse);
  umount2(argv[1], MNT_DETACH);
  return 0;
}
