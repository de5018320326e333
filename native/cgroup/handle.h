// A container's cgroup held open: figures, pids and freezer state at the price of a few reads.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cgroup/descriptors.h"
#include "cgroup/freeze.h"
#include "cgroup/stats/files.h"
#include "cgroup/stats/stats.h"
#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// Thread-safe; one read at a time. Holds on to the cgroup it was opened on: when that is removed, every call
// answers ERR_CONTAINER_EXITED, even if another cgroup of the same name has come since. Its directory alone
// tells: a file that went (ENODEV) may be a controller that was taken away, and given back since.
class CgroupHandle final : public DescriptorHolder {
 public:
  // ERR_CONTAINER_EXITED when no directory is left, or some are gone and the rest is empty.
  static Result<std::unique_ptr<CgroupHandle>> Open(CgroupPaths paths, DescriptorBudget* budget);
  ~CgroupHandle();

  const CgroupPaths& paths() const { return paths_; }

  // All or nothing. At most `keep` files stay open for the next time, where the budget has room; the
  // directories of those that do not come on top (six on v1, one on v2). A small number makes a walk over
  // many containers cost the same for each, however many there are.
  Status ReadStats(StatsScratch* scratch, Stats* out, size_t keep = SIZE_MAX);
  Status ReadPids(std::vector<pid_t>* out);
  Result<Freezer> ReadFreezerState();

  // Descriptors kept now; gives them all back.
  size_t kept();
  void Trim();

 private:
  enum class Outcome { kText, kAbsent, kGone, kFailed };

  // One for each different path; joined controllers share it.
  struct Directory {
    const std::string* path = nullptr;  // in paths_
    int fd = -1;
    bool kept = false;
    bool suspect = false;  // a file was not found: was it the whole directory?
    bool wanted = false;   // a file in it was opened and not kept
    dev_t dev = 0;
    ino_t ino = 0;
  };
  static constexpr int32_t kClosed = -1;
  static constexpr int32_t kAbsent = -2;
  static constexpr int8_t kNowhere = -1;

  CgroupHandle(CgroupPaths paths, DescriptorBudget* budget);
  Status FindDirectories();
  int8_t AddDirectory(const std::string& path, std::vector<std::string>* missing, Status* status);
  size_t CloseKept() override;

  int OpenRelieved(int dir_fd, const char* name, int flags);
  bool OpenDirectory(Directory* directory);
  void CloseUnkept(Directory* directory);
  void Settle(Directory* directory, bool wanted);
  Outcome ReadSlot(size_t slot, StatPlace place, const char* name, StatsScratch* scratch,
                   std::string_view* text);
  Outcome ReadText(int fd, StatsScratch* scratch, std::string_view* text);
  bool ReadBlkio(StatsScratch* scratch, Stats* out);
  bool ReadHugetlb(StatsScratch* scratch, Stats* out);
  Outcome ReadV1Freezer(StatsScratch* scratch, Freezer* out);
  bool Leave(Directory* directory);
  void ForgetAbsences();
  bool IsThere(const Directory& directory) const;
  Outcome Reopen(size_t slot, Directory* directory, const char* name);
  Directory* At(StatPlace place);
  Status Failure(const Directory& fallback);

  CgroupPaths paths_;
  std::vector<Directory> directories_;
  std::array<int8_t, kStatPlaces> places_;  // index of the directory, or kNowhere
  int8_t pids_directory_ = kNowhere;
  bool pids_v2_ = false;
  std::vector<int32_t> files_;  // by slot: a descriptor, kClosed or kAbsent
  std::vector<bool> seen_;      // by slot: it was there once, so it may come back at any time
  size_t kept_files_ = 0;
  size_t keep_ = SIZE_MAX;
  int64_t absences_since_ms_ = 0;
  bool gone_ = false;
  Error error_;
};

}  // namespace lc
