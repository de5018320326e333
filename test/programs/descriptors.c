// descriptors SOCKET COUNT HEX: sends the bytes to a Unix socket, with that many descriptors in the same message, and
// prints all that comes back until the peer closes or has been silent for half a second; then "closed" or "open".
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { kMost = 253 };  // SCM_MAX_FD

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  int count = atoi(argv[2]);
  size_t size = strlen(argv[3]) / 2;
  char* bytes = malloc(size + 1);
  for (size_t i = 0; i < size; ++i) {
    unsigned byte = 0;
    if (sscanf(argv[3] + 2 * i, "%2x", &byte) != 1) return 2;
    bytes[i] = (char)byte;
  }
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (count < 0 || count > kMost || strlen(argv[1]) >= sizeof(address.sun_path)) return 2;
  strcpy(address.sun_path, argv[1]);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof(address)) != 0) {
    perror("connect");
    return 1;
  }
  char control[CMSG_SPACE(sizeof(int) * kMost)] = {0};
  struct iovec data = {bytes, size};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < count; ++i) memcpy(CMSG_DATA(header) + (size_t)i * sizeof(int), &null, sizeof(int));
  }
  if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)size) {
    perror("sendmsg");
    return 1;
  }
  const char* end = "open";
  struct pollfd ready = {fd, POLLIN, 0};
  while (poll(&ready, 1, 500) > 0) {
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n <= 0) {
      end = "closed";
      break;
    }
    fwrite(chunk, 1, (size_t)n, stdout);
  }
  puts(end);
  return 0;
}
