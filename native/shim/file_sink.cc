// The regular file that a process's output goes on to: written by the shim, so that the container never holds
// the host's inode.
#include "shim/file_sink.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "core/files.h"
#include "shim/endpoint.h"

namespace lc::shim {
namespace {

// Of what others have appended meanwhile no more is looked through.
constexpr size_t kMostLooked = 1U << 20U;
constexpr std::string_view kDeleted = " (deleted)";

std::string PathOf(int fd) {
  char path[4097];
  ssize_t n = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  std::string out(path, n > 0 ? static_cast<size_t>(n) : 0);
  if (out.ends_with(kDeleted)) out.resize(out.size() - kDeleted.size());
  return out;
}

// The kernel's own name of the inode, which finds it also where its path is another by now, or none.
// In hexadecimal; empty where the file system has none.
std::string HandleOf(int fd) {
  alignas(file_handle) char room[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(room);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH) != 0) return {};
  static constexpr char kDigits[] = "0123456789abcdef";
  const char* bytes = room + offsetof(file_handle, f_handle);
  std::string out = std::to_string(handle->handle_type) + ":";
  for (unsigned i = 0; i < handle->handle_bytes; ++i) {
    out += kDigits[static_cast<unsigned char>(bytes[i]) >> 4U];
    out += kDigits[static_cast<unsigned char>(bytes[i]) & 15U];
  }
  return out;
}

UniqueFd OpenByHandle(const std::string& text, const std::string& path, int flags) {
  size_t colon = text.find(':');
  auto type = ParseU64(std::string_view(text).substr(0, colon));
  if (!type || colon == std::string::npos || (text.size() - colon - 1) / 2 > MAX_HANDLE_SZ) return {};
  alignas(file_handle) char room[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(room);
  handle->handle_type = static_cast<int>(*type);
  handle->handle_bytes = 0;
  char* bytes = room + offsetof(file_handle, f_handle);
  for (size_t i = colon + 1; i + 1 < text.size(); i += 2) {
    auto digit = [&](size_t at) {
      return static_cast<unsigned>(text[at] <= '9' ? text[at] - '0' : text[at] - 'a' + 10) & 15U;
    };
    bytes[handle->handle_bytes++] = static_cast<char>(digit(i) << 4U | digit(i + 1));
  }
  // Any file of the same file system will do.
  UniqueFd beside(open(path.substr(0, path.rfind('/') + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!beside) return {};
  return UniqueFd(open_by_handle_at(beside.get(), handle, flags));
}

bool Is(int fd, uint64_t device, uint64_t inode) {
  struct stat st {};
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == device && st.st_ino == inode;
}

}  // namespace

FileSink::FileSink(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {
  struct stat st {};
  if (!file_ || fstat(file_.get(), &st) != 0) return;
  const int flags = fcntl(file_.get(), F_GETFL);
  appends_ = flags >= 0 && (flags & O_APPEND) != 0;
  device_ = st.st_dev;
  inode_ = st.st_ino;
}

Status FileSink::Save(const std::string& record) const {
  bool named = !path_.empty();
  std::string text = std::string(named ? "path" : "descriptor") + "\n" + std::to_string(device_) + "\n" +
                     std::to_string(inode_) + "\n" + HandleOf(file_.get()) + "\n" +
                     (named ? path_ : PathOf(file_.get()));
  return WriteNew(record, text);
}

Result<FileSink> FileSink::Reopen(const std::string& record, KeptBytes* kept) {
  auto text = ReadFile(record, 16384);
  if (!text) return text.error();
  std::vector<std::string> lines;
  std::string_view rest = *text;
  while (lines.size() < 4 && rest.find('\n') != std::string_view::npos) {
    lines.emplace_back(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(rest.find('\n') + 1);
  }
  auto device = lines.size() == 4 ? ParseU64(lines[1]) : std::nullopt;
  auto inode = lines.size() == 4 ? ParseU64(lines[2]) : std::nullopt;
  if (!device || !inode) return Error::Coded("ERR_STATE_CORRUPT", "no note of a file", record);
  bool named = lines[0] == "path";
  std::string path(rest);
  // At its end: the offset was shared with whoever opened it, and nothing of theirs is to be written over.
  int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd file(open(path.c_str(), flags));
  bool same = file && Is(file.get(), *device, *inode);
  if (!same && !named) {
    file = OpenByHandle(lines[3], path, flags);
    same = file && Is(file.get(), *device, *inode);
    if (!same) file.Reset();
  } else if (!same) {
    // A log that was rotated: the name is what was asked for.
    if (!file) file.Reset(open(path.c_str(), flags | O_CREAT, 0600));
    struct stat st {};
    if (file && (fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode))) file.Reset();
  }
  FileSink sink(std::move(file), named ? path : std::string());
  if (kept->handing().count > 0) kept->EndHanding(same ? sink.WrittenOf(*kept) : 0);
  return sink;
}

bool FileSink::Same(const FileSink& other) const {
  return device_ == other.device_ && inode_ == other.inode_;
}

uint64_t FileSink::Offset() const {
  struct stat st {};
  if (!appends_) {
    off_t at = lseek(file_.get(), 0, SEEK_CUR);
    return at < 0 ? 0 : static_cast<uint64_t>(at);
  }
  return fstat(file_.get(), &st) == 0 ? static_cast<uint64_t>(st.st_size) : 0;
}

// How much of a write that was cut off by a SIGKILL is in the file: it stands where the file ended then, or,
// whole, behind what others have appended.
uint64_t FileSink::WrittenOf(const KeptBytes& kept) const {
  auto handing = kept.handing();
  std::string_view piece = kept.From(kept.handed());
  piece = piece.substr(0, static_cast<size_t>(std::min<uint64_t>(piece.size(), handing.count)));
  UniqueFd file = shim::Reopen(file_.get(), O_RDONLY | O_NONBLOCK);
  if (!file || piece.empty()) return 0;
  std::string found(kMostLooked, '\0');
  ssize_t n = pread(file.get(), found.data(), found.size(), static_cast<off_t>(handing.file_at));
  found.resize(n > 0 ? static_cast<size_t>(n) : 0);
  size_t same = 0;
  while (same < piece.size() && same < found.size() && found[same] == piece[same]) ++same;
  if (same == piece.size() || same == found.size()) return same;
  return found.find(piece) == std::string::npos ? 0 : piece.size();
}

bool FileSink::Write(KeptBytes* kept) {
  while (kept->handed() < kept->end()) {
    std::string_view piece = kept->From(kept->handed());
    if (!file_) {
      kept->EndHanding(piece.size());
      continue;
    }
    kept->BeginHanding({Offset(), piece.size()});
    ssize_t n = -1;
    do {
      n = write(file_.get(), piece.data(), piece.size());
    } while (n < 0 && errno == EINTR);
    int err = errno;
    kept->EndHanding(n > 0 ? static_cast<uint64_t>(n) : 0);
    if (n > 0) continue;
    if (n == 0 || err == ENOSPC || err == EDQUOT || err == EAGAIN || err == ENOMEM) return false;
    file_.Reset();
  }
  return true;
}

}  // namespace lc::shim
