// The last bytes of a stream, in a file that is mapped: they are there after this process was killed, at
// whatever instruction, and none is there twice.
#include "shim/kept_bytes.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/files.h"
#include "core/unique_fd.h"

namespace lc::shim {
namespace {

// "lc-kep1" of version 0.1, whose pipe is a FIFO with a name, and "lc-kep2" with a Source.
constexpr uint64_t kNamedMagic = 0x3170656b2d636cULL;
constexpr uint64_t kMagic = 0x3270656b2d636cULL;
constexpr size_t kPattern = 16;

// Stores are made in this order: what is left to see when the process ends between two of them.
void Store(uint64_t* where, uint64_t value) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::atomic_ref<uint64_t>(*where).store(value, std::memory_order_seq_cst);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace

struct KeptBytes::Header {
  uint64_t magic;
  uint64_t capacity;
  uint64_t begin;
  uint64_t end;
  uint64_t taking_at;  // where a read(2) may be putting bytes, and how many; 0 when none is under way
  uint64_t taking;
  // What lies where a read will put its bytes, so that it is seen afterwards whether it has. Random, and in a
  // file of mode 0600: no program writes it by chance or on purpose.
  unsigned char pattern[kPattern];
};

// Follows the header.
struct KeptBytes::Source {
  uint64_t pipe;
  uint64_t handed;
  uint64_t handing_from;  // `handed` when the write began: what differs is counted already
  uint64_t file_at;
  uint64_t handing;
};

KeptBytes::Source* KeptBytes::source() const {
  if (header()->magic != kMagic) return nullptr;
  return reinterpret_cast<Source*>(static_cast<char*>(memory_) + sizeof(Header));
}

size_t KeptBytes::overhead() const {
  return sizeof(Header) + (header()->magic == kMagic ? sizeof(Source) : 0);
}

Result<KeptBytes> KeptBytes::Create(const std::string& path, size_t capacity) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::Sys("open", path);
  Header header{};
  header.magic = kMagic;
  header.capacity = capacity;
  if (getrandom(header.pattern, kPattern, 0) != static_cast<ssize_t>(kPattern))
    return Error::Sys("getrandom");
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(sizeof(Source), '\0');
  auto written = WriteAll(fd.get(), bytes, path);
  if (!written) return written.error();
  bytes.assign(std::min<size_t>(capacity, 65536), '\0');
  for (size_t left = capacity; left > 0;) {
    size_t some = std::min(left, bytes.size());
    written = WriteAll(fd.get(), std::string_view(bytes).substr(0, some), path);
    if (!written) return written.error();
    left -= some;
  }
  return Open(path);
}

Result<KeptBytes> KeptBytes::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return Error::Sys("open", path);
  Error corrupt = Error::Coded("ERR_STATE_CORRUPT", "no kept output", path);
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return Error::Sys("fstat", path);
  auto size = static_cast<size_t>(st.st_size);
  if (!S_ISREG(st.st_mode) || size <= sizeof(Header) || size > sizeof(Header) + sizeof(Source) + kMaxCapacity)
    return corrupt;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return Error::Sys("mmap", path);
  KeptBytes kept(memory, size);
  const Header* header = kept.header();
  bool known = header->magic == kNamedMagic || header->magic == kMagic;
  if (!known || size <= kept.overhead()) return corrupt;
  uint64_t capacity = size - kept.overhead();
  const Source* source = kept.source();
  if (source != nullptr && (source->handed > header->end || source->handing_from > header->end ||
                            source->handing > header->end - source->handing_from)) {
    return corrupt;
  }
  if (header->capacity != capacity || header->begin > header->end || header->end - header->begin > capacity ||
      header->taking > capacity - header->taking_at % capacity) {
    return corrupt;
  }
  kept.FinishTake();
  return kept;
}

KeptBytes::KeptBytes(KeptBytes&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), size_(other.size_) {}

KeptBytes::~KeptBytes() {
  if (memory_ != nullptr) munmap(memory_, size_);
}

uint64_t KeptBytes::begin() const {
  return header()->begin;
}
uint64_t KeptBytes::end() const {
  return header()->end;
}
size_t KeptBytes::capacity() const {
  return size_ - overhead();
}
char* KeptBytes::data() const {
  return static_cast<char*>(memory_) + overhead();
}

uint64_t KeptBytes::pipe() const {
  return source() == nullptr ? 0 : source()->pipe;
}
void KeptBytes::set_pipe(uint64_t inode) {
  if (source() != nullptr) Store(&source()->pipe, inode);
}

uint64_t KeptBytes::handed() const {
  return source() == nullptr ? end() : source()->handed;
}

KeptBytes::Handing KeptBytes::handing() const {
  const Source* from = source();
  if (from == nullptr || from->handing == 0 || from->handed != from->handing_from) return {};
  return {from->file_at, from->handing};
}

void KeptBytes::BeginHanding(const Handing& handing) {
  if (source() == nullptr) return;
  Store(&source()->handing, 0);
  Store(&source()->handing_from, source()->handed);
  Store(&source()->file_at, handing.file_at);
  Store(&source()->handing, handing.count);
}

void KeptBytes::EndHanding(uint64_t written) {
  if (source() == nullptr) return;
  if (written > 0) Store(&source()->handed, source()->handed + written);
  Store(&source()->handing, 0);
}

Result<size_t> KeptBytes::TakeFrom(int pipe, size_t room) {
  int pending = 0;
  if (ioctl(pipe, FIONREAD, &pending) != 0) return Error::Sys("FIONREAD");
  Header* head = header();
  size_t at = head->end % capacity();
  size_t count = std::min({static_cast<size_t>(pending), room, capacity() - at});
  if (count == 0) return count;
  // These go in any case, whether the read comes to pass or not.
  if (head->end + count > head->begin + capacity()) Store(&head->begin, head->end + count - capacity());
  for (size_t i = 0; i < count; i += kPattern)
    memcpy(data() + at + i, head->pattern, std::min(kPattern, count - i));
  Store(&head->taking_at, head->end);
  Store(&head->taking, count);
  ssize_t n = -1;
  do {
    n = read(pipe, data() + at, count);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    Error error = Error::Sys("read");
    Store(&head->taking, 0);
    // Whoever has the pipe may read from it too.
    if (error.err == EAGAIN) return size_t{0};
    return error;
  }
  Store(&head->end, head->end + static_cast<uint64_t>(n));
  Store(&head->taking, 0);
  return static_cast<size_t>(n);
}

bool KeptBytes::IsUntouched(uint64_t at, uint64_t count) const {
  const char* bytes = data() + at % capacity();
  for (uint64_t i = 0; i < count; i += kPattern) {
    if (memcmp(bytes + i, header()->pattern, std::min<uint64_t>(kPattern, count - i)) != 0) return false;
  }
  return true;
}

// The process that kept this was killed around a read, which is done wholly or not at all.
void KeptBytes::FinishTake() {
  Header* head = header();
  if (head->taking == 0) return;
  bool counted = head->end != head->taking_at;
  if (!counted && !IsUntouched(head->end, head->taking)) Store(&head->end, head->end + head->taking);
  Store(&head->taking, 0);
}

std::string_view KeptBytes::From(uint64_t at) const {
  size_t offset = at % capacity();
  uint64_t count = std::min<uint64_t>(end() - at, capacity() - offset);
  return {data() + offset, static_cast<size_t>(count)};
}

}  // namespace lc::shim
