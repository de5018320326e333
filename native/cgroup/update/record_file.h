// runc's state.json changed in place, while runc, which takes no lock, may be saving it too.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <utility>

#include "cgroup/update/plan.h"
#include "cgroup/update/record_patch.h"
#include "cgroup/update/resources.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

// Read once, then patched. ERR_STATE_CORRUPT, and the file as it was, where it is no record.
class RecordFile {
 public:
  // `directory`, where given, is the open directory that `path` is in: the shorter way.
  static Result<RecordFile> Open(std::string path, int directory = AT_FDCWD);

  const RuncRecord& record() const { return base_.record; }

  // Whoever reads the file sees a whole version; nothing that another hand saved since the file was opened is
  // lost: it is found out and patched as well. (What another hand read before and saves afterwards is beyond
  // anyone's reach.) ERR_CONTAINER_EXITED where that is the record of another init process.
  Status Patch(const Resources& resources, const PlanOptions& options);

  // After Patch: the version that was there before, of which this is the last trace.
  UniqueFd ReleaseOld() { return std::move(base_.fd); }

 private:
  // A version of the file, told from every other by its inode: held open, so that no other can get the
  // number.
  struct Version {
    UniqueFd fd;
    struct stat identity;
    RuncRecord record;
  };
  static Result<Version> Read(int directory, const std::string& from, const std::string& path);
  // As Read, of what another hand saved since.
  Result<Version> ReadNewer(const std::string& from) const;

  RecordFile(std::string path, int directory, std::string name, Version base)
      : path_(std::move(path)), directory_(directory), name_(std::move(name)), base_(std::move(base)) {}

  std::string path_;  // for errors
  int directory_;
  std::string name_;
  Version base_;
};

}  // namespace lc
