// The last bytes of a stream, in a file that is mapped: they are there after this process was killed, at
// whatever instruction, and none is there twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lc::shim {

class KeptBytes {
 public:
  static constexpr size_t kMaxCapacity = 16U << 20U;

  // A new file of `capacity` bytes and a header. The room is taken now: a disk that is full is an error here
  // rather than a signal later.
  static Result<KeptBytes> Create(const std::string& path, size_t capacity);
  // One that an earlier shim kept. ERR_STATE_CORRUPT where it is no such file.
  static Result<KeptBytes> Open(const std::string& path);

  KeptBytes(KeptBytes&& other) noexcept;
  KeptBytes& operator=(KeptBytes&& other) = delete;
  ~KeptBytes();

  // Positions count from the stream's first byte.
  uint64_t begin() const;
  uint64_t end() const;
  size_t capacity() const;

  // What a pipe holds now: one read(2) of `room` bytes at most. 0 where it holds nothing, also because
  // somebody else has read it.
  Result<size_t> TakeFrom(int pipe, size_t room);

  // The inode number of the pipe that these bytes come from, while somebody may still write into it; else 0.
  uint64_t pipe() const;
  void set_pipe(uint64_t inode);

  // Of a stream that goes on to a file: all before this position is there. A write begins at an offset of the
  // file; a process that is killed in the middle of it leaves that to be seen by the next.
  struct Handing {
    uint64_t file_at = 0;
    uint64_t count = 0;  // 0: no write is under way
  };
  uint64_t handed() const;
  Handing handing() const;
  void BeginHanding(const Handing& handing);
  void EndHanding(uint64_t written);

  // Bytes from `at` on, begin() or later: as many as lie in one piece.
  std::string_view From(uint64_t at) const;

 private:
  struct Header;
  struct Source;

  KeptBytes(void* memory, size_t size) : memory_(memory), size_(size) {}
  Header* header() const { return static_cast<Header*>(memory_); }
  Source* source() const;
  size_t overhead() const;
  char* data() const;
  void FinishTake();
  bool IsUntouched(uint64_t at, uint64_t count) const;

  void* memory_;
  size_t size_;
};

}  // namespace lc::shim
