// A container's cgroup held open: figures, pids and freezer state at the price of a few reads.
#include "cgroup/handle.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "cgroup/pids.h"
#include "cgroup/scan.h"

namespace lc {
namespace {

constexpr size_t kFirstBuffer = 16384;  // memory.stat has 2 to 3 KB; it grows where there are many CPUs
constexpr size_t kMaxStatBytes =
    1U << 20U;  // no such file of the kernel's; a longer one is somebody's mischief
// A file that was not there is looked for again now and then: a module may bring it (bfq), or a controller
// that is enabled late.
constexpr int64_t kForgetAbsenceMs = 10'000;
constexpr int kMaxAttempts = 3;  // at a file that goes while it is read

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

int64_t RealtimeNs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

struct Slots {
  size_t blkio = PlainStatFiles().size();
  size_t hugetlb = blkio + BlkioFiles().size();
  size_t freezer = hugetlb + HugetlbFiles().size() * HugePageSizes().size();
  size_t count = freezer + kFreezerSlots;
};

}  // namespace

CgroupHandle::CgroupHandle(CgroupPaths paths, DescriptorBudget* budget)
    : DescriptorHolder(budget),
      paths_(std::move(paths)),
      files_(Slots().count, kClosed),
      seen_(files_.size()) {
  places_.fill(kNowhere);
}

CgroupHandle::~CgroupHandle() {
  Unregister();
  Trim();
}

Result<std::unique_ptr<CgroupHandle>> CgroupHandle::Open(CgroupPaths paths, DescriptorBudget* budget) {
  std::unique_ptr<CgroupHandle> handle(new CgroupHandle(std::move(paths), budget));
  handle->Register();
  Status status = Ok();
  {
    std::lock_guard lock(handle->mutex_);
    status = handle->FindDirectories();
  }
  if (!status) return status.error();
  return handle;
}

int8_t CgroupHandle::AddDirectory(const std::string& path, std::vector<std::string>* missing,
                                  Status* status) {
  for (size_t i = 0; i < directories_.size(); ++i) {
    if (*directories_[i].path == path) return static_cast<int8_t>(i);
  }
  Directory directory;
  directory.path = &path;
  if (OpenDirectory(&directory)) {
    CloseUnkept(&directory);
  } else {
    if (gone_) {
      gone_ = false;
      missing->push_back(path);
    } else if (status->ok()) {
      *status = error_;
    }
    return kNowhere;
  }
  directories_.push_back(directory);
  return static_cast<int8_t>(directories_.size() - 1);
}

Status CgroupHandle::FindDirectories() {
  std::vector<std::string> missing;
  Status status = Ok();
  auto add = [&](StatPlace place, const std::string* path) {
    if (path != nullptr) places_[static_cast<size_t>(place)] = AddDirectory(*path, &missing, &status);
  };
  for (size_t i = 0; i < kStatPlaces; ++i) {
    auto place = static_cast<StatPlace>(i);
    if (const char* controller = ControllerOf(place)) add(place, paths_.Find(controller));
  }
  const std::string* unified = paths_.unified.empty() ? nullptr : &paths_.unified;
  auto add_v2 = [&](StatPlace place, const char* v1, const char* or_v1 = nullptr) {
    if (paths_.Find(v1) == nullptr && (or_v1 == nullptr || paths_.Find(or_v1) == nullptr))
      add(place, unified);
  };
  add_v2(StatPlace::kV2Pids, "pids");
  add_v2(StatPlace::kV2Memory, "memory");
  add_v2(StatPlace::kV2Io, "blkio");
  add_v2(StatPlace::kV2Cpu, "cpu", "cpuacct");
  add_v2(StatPlace::kV2Hugetlb, "hugetlb");
  add_v2(StatPlace::kV2Rdma, "rdma");
  add_v2(StatPlace::kV2Misc, "misc");
  add_v2(StatPlace::kV2Freezer, "freezer");
  if (const std::string* path = PidsDirectory(paths_, &pids_v2_)) {
    pids_directory_ = AddDirectory(*path, &missing, &status);
  }
  if (!status) return status;
  if (directories_.empty()) {
    if (missing.empty()) return Error::Coded("ERR_UNSUPPORTED", "the container has no cgroup");
    return CgroupGone(missing.front(), ENOENT);
  }
  if (missing.empty()) return Ok();
  // A controller that was mounted after the container was made has no directory for it, which is fine. But it
  // may also be that someone is removing them one by one right now; then none has a process left.
  std::vector<pid_t> pids;
  Directory& witness = directories_[pids_directory_ == kNowhere ? 0 : static_cast<size_t>(pids_directory_)];
  if (witness.fd < 0 && !OpenDirectory(&witness)) return Failure(witness);
  Status listed = ReadPidsBelow(witness.fd, *witness.path, false, &pids);
  CloseUnkept(&witness);
  if (!listed) return listed;
  if (pids.empty()) return CgroupGone(missing.front(), ENOENT);
  return Ok();
}

// Closes every file and directory that is kept.
size_t CgroupHandle::CloseKept() {
  size_t closed = 0;
  for (int32_t& fd : files_) {
    if (fd < 0) continue;
    close(fd);
    fd = kClosed;
    ++closed;
  }
  kept_files_ = 0;
  for (Directory& directory : directories_) {
    if (!directory.kept) continue;
    close(directory.fd);
    directory.fd = -1;
    directory.kept = false;
    ++closed;
  }
  return closed;
}

void CgroupHandle::Trim() {
  std::lock_guard lock(mutex_);
  for (Directory& directory : directories_) CloseUnkept(&directory);
  budget_->Release(CloseKept());
}

size_t CgroupHandle::kept() {
  std::lock_guard lock(mutex_);
  size_t count = kept_files_;
  for (const Directory& directory : directories_) count += directory.kept ? 1U : 0U;
  return count;
}

// When the process or the machine is out of descriptors, first others that are kept are given back, then our
// own.
int CgroupHandle::OpenRelieved(int dir_fd, const char* name, int flags) {
  bool own_closed = false;
  for (;;) {
    int fd = openat(dir_fd, name, flags | O_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno == EINTR) continue;
    if (errno != EMFILE && errno != ENFILE) return fd;
    int err = errno;
    if (budget_->Relieve(this)) continue;
    if (own_closed || kept_files_ == 0) {
      errno = err;
      return -1;
    }
    own_closed = true;
    budget_->Release(kept_files_);
    for (int32_t& file : files_) {
      if (file < 0) continue;
      close(file);
      file = kClosed;
    }
    kept_files_ = 0;
  }
}

bool CgroupHandle::OpenDirectory(Directory* directory) {
  int fd = OpenRelieved(AT_FDCWD, directory->path->c_str(), O_RDONLY | O_DIRECTORY);
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0) {
    gone_ = errno == ENOENT || errno == ENODEV;
    error_ = gone_ ? CgroupGone(*directory->path, errno) : Error::Sys("open", *directory->path);
    if (fd >= 0) close(fd);
    return false;
  }
  if (directory->ino == 0) {
    directory->dev = st.st_dev;
    directory->ino = st.st_ino;
  } else if (directory->ino != st.st_ino || directory->dev != st.st_dev) {
    // Ours was removed and another of the same name made.
    close(fd);
    gone_ = true;
    error_ = CgroupGone(*directory->path, ENOENT);
    return false;
  }
  directory->fd = fd;
  return true;
}

// Keeps the directory when something in it must be opened again next time: one whose files are all kept is of
// no use.
void CgroupHandle::Settle(Directory* directory, bool wanted) {
  if (directory->fd < 0 || directory->kept) return;
  if (wanted && budget_->Admit(this)) {
    directory->kept = true;
  } else {
    CloseUnkept(directory);
  }
}

void CgroupHandle::CloseUnkept(Directory* directory) {
  if (directory->fd < 0 || directory->kept) return;
  close(directory->fd);
  directory->fd = -1;
}

CgroupHandle::Directory* CgroupHandle::At(StatPlace place) {
  int8_t index = places_[static_cast<size_t>(place)];
  return index == kNowhere ? nullptr : &directories_[static_cast<size_t>(index)];
}

bool CgroupHandle::IsThere(const Directory& directory) const {
  struct stat st {};
  return stat(directory.path->c_str(), &st) == 0 && st.st_ino == directory.ino && st.st_dev == directory.dev;
}

// A directory that was removed answers ENOENT for its files, just as one that never had the file. False:
// removed.
bool CgroupHandle::Leave(Directory* directory) {
  Settle(directory, directory->wanted);
  directory->wanted = false;
  if (!directory->suspect) return true;
  directory->suspect = false;
  if (IsThere(*directory)) return true;
  gone_ = true;
  error_ = CgroupGone(*directory->path, ENOENT);
  return false;
}

Status CgroupHandle::Failure(const Directory& fallback) {
  for (Directory& directory : directories_) CloseUnkept(&directory);
  if (gone_ && error_.code == nullptr) error_ = CgroupGone(*fallback.path, ENODEV);
  return error_;
}

void CgroupHandle::ForgetAbsences() {
  int64_t now = NowMs();
  if (now - absences_since_ms_ < kForgetAbsenceMs) return;
  absences_since_ms_ = now;
  for (int32_t& fd : files_) {
    if (fd == kAbsent) fd = kClosed;
  }
}

CgroupHandle::Outcome CgroupHandle::ReadText(int fd, StatsScratch* scratch, std::string_view* text) {
  std::vector<char>& buffer = scratch->buffer;
  if (buffer.empty()) buffer.resize(kFirstBuffer);
  size_t used = 0;
  for (;;) {
    ssize_t n = pread(fd, buffer.data() + used, buffer.size() - used, static_cast<off_t>(used));
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == ENODEV) return Outcome::kGone;
      // Pressure that is switched off; something that is no file of the kernel's in the file's place.
      if (errno == EOPNOTSUPP || errno == EISDIR || errno == ESPIPE || errno == EINVAL)
        return Outcome::kAbsent;
      return Outcome::kFailed;
    }
    used += static_cast<size_t>(n);
    // Such a file is one record of a seq_file: it comes whole, or fills the buffer.
    if (used < buffer.size()) break;
    if (buffer.size() >= kMaxStatBytes) return Outcome::kAbsent;
    buffer.resize(buffer.size() * 2);
  }
  *text = std::string_view(buffer.data(), used);
  return Outcome::kText;
}

CgroupHandle::Outcome CgroupHandle::ReadSlot(size_t slot, StatPlace place, const char* name,
                                             StatsScratch* scratch, std::string_view* text) {
  if (files_[slot] == kAbsent) return Outcome::kAbsent;
  Directory& directory = *At(place);
  bool was_kept = files_[slot] >= 0;
  Outcome outcome = Outcome::kGone;
  // A file that went with its controller is looked for again: the controller may be back.
  for (int attempt = 0; attempt < kMaxAttempts && outcome == Outcome::kGone; ++attempt) {
    if (attempt > 0 && !IsThere(directory)) break;
    if (files_[slot] < 0) {
      Outcome opened = Reopen(slot, &directory, name);
      if (opened != Outcome::kText) return opened;
      was_kept = false;
    }
    outcome = ReadText(files_[slot], scratch, text);
    if (outcome == Outcome::kFailed) error_ = Error::Sys("read", *directory.path + "/" + name);
    if (was_kept && outcome != Outcome::kGone) return outcome;
    if (!was_kept && outcome == Outcome::kText && kept_files_ < keep_ && budget_->Admit(this)) {
      ++kept_files_;
      return outcome;
    }
    close(files_[slot]);
    files_[slot] = kClosed;
    directory.wanted = true;
    if (was_kept) {
      --kept_files_;
      budget_->Release(1);
    }
    was_kept = false;
  }
  if (outcome != Outcome::kGone) return outcome;
  // Of a directory that is there, a file that comes and goes has nothing to say now.
  if (IsThere(directory)) return Outcome::kAbsent;
  gone_ = true;
  error_ = CgroupGone(*directory.path, ENODEV);
  return outcome;
}

// Opens the slot's file, which is not kept yet; kText when it is open.
CgroupHandle::Outcome CgroupHandle::Reopen(size_t slot, Directory* directory, const char* name) {
  if (directory->fd < 0 && !OpenDirectory(directory)) return gone_ ? Outcome::kGone : Outcome::kFailed;
  int fd = OpenRelieved(directory->fd, name, O_RDONLY | O_NONBLOCK);
  if (fd >= 0) {
    files_[slot] = fd;
    seen_[slot] = true;
    return Outcome::kText;
  }
  if (errno == ENOENT || errno == ENODEV) {
    if (!seen_[slot]) files_[slot] = kAbsent;
    directory->suspect = true;
    return Outcome::kAbsent;
  }
  error_ = Error::Sys("open", *directory->path + "/" + name);
  return Outcome::kFailed;
}

Status CgroupHandle::ReadStats(StatsScratch* scratch, Stats* out, size_t keep) {
  std::lock_guard lock(mutex_);
  Touch();
  out->Clear();
  gone_ = false;
  keep_ = keep;
  error_ = {};
  ForgetAbsences();
  out->timestamp_ns = RealtimeNs();
  std::span<const StatFile> plain = PlainStatFiles();
  Directory* current = nullptr;
  for (size_t slot = 0; slot < plain.size(); ++slot) {
    Directory* directory = At(plain[slot].place);
    if (directory == nullptr) continue;
    if (current != nullptr && current != directory && !Leave(current)) return Failure(*current);
    current = directory;
    std::string_view text;
    Outcome outcome = ReadSlot(slot, plain[slot].place, plain[slot].name, scratch, &text);
    if (outcome == Outcome::kText) plain[slot].apply(text, out, scratch);
    if (outcome == Outcome::kGone || outcome == Outcome::kFailed) return Failure(*directory);
  }
  if (!ReadBlkio(scratch, out) || !ReadHugetlb(scratch, out)) return Failure(directories_.front());
  for (Directory& directory : directories_) {
    if (!Leave(&directory)) return Failure(directory);
  }
  return Ok();
}

}  // namespace lc
