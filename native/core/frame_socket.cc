// Frames with descriptors over a Unix stream socket: what the addon and the shim speak.
#include "core/frame_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "core/protection.h"

namespace lc {
namespace {

constexpr size_t kHeader = 8;
// Of one Read(): a peer that writes as fast as it is read must not keep its reader from everybody else.
constexpr int kMaxChunks = 64;
// Of one message: more is not read, and the kernel says so.
constexpr size_t kMaxRights = 128;
// Of what waits for its reader: what is sent of it is given back piece by piece.
constexpr size_t kPiece = 65536;

// The kernel's own, for a moment: tried again, as when the buffer is full, rather than a reason to part.
bool IsOutOfMemory(int error) {
  return error == ENOMEM || error == ENOBUFS;
}

}  // namespace

FrameSocket::State FrameSocket::Read(std::vector<Frame>* out) {
  char chunk[16384];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxRights)];
  for (int chunks = 0; chunks < kMaxChunks; ++chunks) {
    iovec data{chunk, sizeof(chunk)};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t n = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || IsOutOfMemory(errno)) return Parse(out);
      return State::kClosed;
    }
    const size_t before = in_fds_.size();
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
        in_fds_.emplace_back(fd);
      }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      // Fewer than the buffer has room for: this process has no numbers left. The descriptors of one
      // message are those of one frame, which goes on without any; all later ones have theirs.
      if (in_fds_.size() - before >= kMaxRights) return State::kGarbled;
      while (in_fds_.size() > before) in_fds_.pop_back();
      in_fds_.emplace_back();
    }
    if (n == 0) return Parse(out) == State::kGarbled ? State::kGarbled : State::kClosed;
    in_.append(chunk, static_cast<size_t>(n));
    // Parsed as it comes, so that the bounds hold before a hostile peer has filled the memory.
    State state = Parse(out);
    if (state != State::kOpen) return state;
    if (static_cast<size_t>(n) < sizeof(chunk)) return state;
  }
  return State::kOpen;
}

FrameSocket::State FrameSocket::Parse(std::vector<Frame>* out) {
  size_t at = 0;
  uint32_t claimed = 0;
  while (in_.size() - at >= kHeader) {
    uint32_t length = 0;
    uint32_t count = 0;
    memcpy(&length, in_.data() + at, 4);
    memcpy(&count, in_.data() + at + 4, 4);
    if (Without("length")) length = static_cast<uint16_t>(length);
    if (length > kMaxPayload || count > kMaxFds) return State::kGarbled;
    // They travelled with the frame's first byte, so by now they are here, or were never sent.
    const bool cut_off = count > 0 && !in_fds_.empty() && !in_fds_.front();
    if (in_fds_.size() < count && !cut_off) return State::kGarbled;
    claimed = count;
    if (in_.size() - at - kHeader < length) break;
    Frame frame;
    frame.payload.assign(in_, at + kHeader, length);
    frame.cut_off = cut_off;
    if (cut_off) in_fds_.pop_front();
    for (uint32_t i = 0; i < count && !cut_off; ++i) {
      if (!in_fds_.front()) return State::kGarbled;
      frame.fds.push_back(std::move(in_fds_.front()));
      in_fds_.pop_front();
    }
    out->push_back(std::move(frame));
    at += kHeader + length;
    claimed = 0;
  }
  in_.erase(0, at);
  if (in_.empty() && in_.capacity() > 65536) in_.shrink_to_fit();
  // More than the frame under way claims: they would pass for a later one's. What it claims is not known
  // while its header is not whole.
  if (!in_.empty() && in_.size() < kHeader) claimed = kMaxFds;
  if (in_fds_.size() > claimed) return State::kGarbled;
  return State::kOpen;
}

Result<size_t> FrameSocket::Push(std::string_view bytes, const std::vector<int>& fds) {
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  for (;;) {
    ssize_t n = sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || IsOutOfMemory(errno)) return size_t{0};
    return Error::Sys("sendmsg");
  }
}

Status FrameSocket::Send(std::string_view payload, const std::vector<int>& fds) {
  if (payload.size() > kMaxPayload || fds.size() > kMaxFds) return Error::Of(EMSGSIZE, "sendmsg");
  uint32_t header[2] = {static_cast<uint32_t>(payload.size()), static_cast<uint32_t>(fds.size())};
  std::string bytes;
  bytes.reserve(kHeader + payload.size());
  bytes.append(reinterpret_cast<const char*>(header), kHeader);
  bytes.append(payload);
  size_t sent = 0;
  if (backlog_.empty()) {
    auto pushed = Push(bytes, fds);
    if (!pushed) return pushed.error();
    sent = *pushed;
    if (sent == bytes.size()) return Ok();
  }
  if (backlog_bytes_ + bytes.size() > kMaxBacklog) return Error::Of(ENOBUFS, "sendmsg");
  Outgoing rest;
  if (sent == 0) {
    for (int fd : fds) {
      rest.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 3));
      if (!rest.fds.back()) return Error::Sys("fcntl");
    }
  }
  backlog_bytes_ += bytes.size() - sent;
  rest.bytes = std::move(bytes);
  rest.sent = sent;
  backlog_.push_back(std::move(rest));
  return Ok();
}

Status FrameSocket::Queue(std::string_view payload) {
  if (payload.size() > kMaxPayload) return Error::Of(EMSGSIZE, "sendmsg");
  if (backlog_bytes_ + kHeader + payload.size() > kMaxBacklog) return Error::Of(ENOBUFS, "sendmsg");
  uint32_t header[2] = {static_cast<uint32_t>(payload.size()), 0};
  if (backlog_.empty() || !backlog_.back().fds.empty() || backlog_.back().bytes.size() >= kPiece)
    backlog_.emplace_back();
  std::string& bytes = backlog_.back().bytes;
  bytes.append(reinterpret_cast<const char*>(header), kHeader);
  bytes.append(payload);
  backlog_bytes_ += kHeader + payload.size();
  return Ok();
}

Status FrameSocket::Flush() {
  while (!backlog_.empty()) {
    Outgoing& next = backlog_.front();
    std::vector<int> fds;
    for (const UniqueFd& fd : next.fds) fds.push_back(fd.get());
    auto pushed = Push(std::string_view(next.bytes).substr(next.sent), fds);
    if (!pushed) return pushed.error();
    if (*pushed == 0) return Ok();
    next.fds.clear();
    next.sent += *pushed;
    backlog_bytes_ -= *pushed;
    if (next.sent < next.bytes.size()) return Ok();
    backlog_.pop_front();
  }
  return Ok();
}

}  // namespace lc
