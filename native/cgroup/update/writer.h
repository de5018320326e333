// Carries out a plan: all of it, or the state before.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cgroup/update/plan.h"
#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// What was written, with what must be written to undo it.
class AppliedPlan {
 public:
  // In reverse order; tries every one even when some fail. Empty when all went back, else what did not.
  std::string Undo();
  size_t size() const { return done_.size(); }

 private:
  friend Result<AppliedPlan> ApplyPlan(const CgroupPaths& paths, const CgroupPlan& plan);
  struct Done {
    std::string path;
    std::optional<std::string> old_value;
  };
  std::vector<Done> done_;
};

// Where a write fails what came before it is put back, and the Error has the kernel's errno, the path of the
// file, and in its text the field, the value and a hint where the cause is known. ERR_CONTAINER_EXITED when
// the cgroup is gone, ERR_UNSUPPORTED when the file does not exist.
Result<AppliedPlan> ApplyPlan(const CgroupPaths& paths, const CgroupPlan& plan);

// Reads control files of these paths, which must outlive the answer, for PlanUpdate.
ReadCurrent CurrentOf(const CgroupPaths& paths);

// What to write to put back `old_text`, as it was read before `write`. Nothing: cannot be, or need not be.
std::optional<std::string> ValueToRestore(const CgroupWrite& write, std::string_view old_text);

// Why the kernel says no, for people; empty where the errno says it all.
std::string HintFor(const CgroupWrite& write, int err, const ReadCurrent& current);

}  // namespace lc
