// A checkpoint on disk, `<bundle>/checkpoints/<name>`: made under another name, and seen by its own only when
// it is whole.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

// False for what could lead out of the checkpoints' directory, or to a directory that is being made.
bool IsCheckpointName(std::string_view name);

class CheckpointDirectory {
 public:
  // Claims the name, of all shims that serve this bundle for one, and stores `metadata` as config.json.
  // ERR_CHECKPOINT_EXISTS where it is taken, also by a dump that is under way.
  static Result<CheckpointDirectory> Claim(const std::string& bundle, const std::string& name,
                                           std::string_view metadata);

  // One that was being made when its shim ended. ENOENT where there is none.
  static Result<CheckpointDirectory> Resume(const std::string& bundle, const std::string& name);

  // By its log CRIU came to the end of the dump.
  bool IsDumped() const;
  const std::string& path() const { return path_; }  // where the images go
  std::string work_path() const { return path_ + "/criu.work"; }

  // It is whole: from here on it is seen.
  Status Commit();
  void Discard();

 private:
  Status LockAndFill(std::string_view metadata);

  std::string path_;
  std::string final_path_;
  UniqueFd lock_;  // held while the images are written: tells a dump under way from one that was cut off
};

// Which checkpoints a dump of this container's memory may name as its parent. The kernel tells which pages
// changed since the last dump that asked it to keep count; of an older one CRIU would take pages that are
// out of date, and says nothing. So: that last one, and those that came after it.
class DumpHistory {
 public:
  explicit DumpHistory(std::string file) : file_(std::move(file)) {}

  // ERR_CHECKPOINT_NOT_FOUND where it is none, or is not there.
  Status CheckParent(const std::string& bundle, const std::string& name) const;
  // The count starts anew: nothing before this may be a parent.
  void Forget() const;
  Status Add(std::string_view name, std::string_view created) const;

 private:
  std::string file_;
};

}  // namespace lc::shim
