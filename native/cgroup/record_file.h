// runc's state.json changed in place, while runc, which takes no lock, may be saving it too.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include "cgroup/plan.h"
#include "cgroup/record_patch.h"
#include "cgroup/resources.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

// Read once, then patched. ERR_STATE_CORRUPT, and the file as it was, where it is no record.
class RecordFile {
 public:
  static Result<RecordFile> Open(std::string path);

  const RuncRecord& record() const { return base_.record; }

  // Whoever reads the file sees a whole version; nothing that another hand saved since the file was opened is
  // lost: it is found out and patched as well. (What another hand read before and saves afterwards is beyond
  // anyone's reach.) ERR_CONTAINER_EXITED where that is the record of another init process.
  Status Patch(const Resources& resources, const PlanOptions& options);

 private:
  // A version of the file, told from every other by its inode: held open, so that no other can get the
  // number.
  struct Version {
    UniqueFd fd;
    struct stat identity;
    RuncRecord record;
    bool IsOf(const struct stat& other) const {
      return identity.st_ino == other.st_ino && identity.st_dev == other.st_dev;
    }
  };
  static Result<Version> Read(const std::string& from, const std::string& path);
  // As Read, of what another hand saved since.
  Result<Version> ReadNewer(const std::string& from) const;

  RecordFile(std::string path, Version base) : path_(std::move(path)), base_(std::move(base)) {}

  std::string path_;
  Version base_;
};

}  // namespace lc
