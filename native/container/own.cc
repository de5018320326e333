// A process's own cgroup, below its container's: made, limited, removed.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "cgroup/own_cgroup.h"
#include "cgroup/remove.h"
#include "cgroup/update/writer.h"
#include "container/live_container.h"
#include "container/recorded_cgroups.h"
#include "core/files.h"

namespace lc {
namespace {

// Whether `word` is one of `list`, which spaces separate.
bool Has(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t space = list.find(' ');
    if (list.substr(0, space) == word) return true;
    if (space == std::string_view::npos) return false;
    list.remove_prefix(space + 1);
  }
  return false;
}

// Of v2: the files of a controller are there if the parent passes it on.
Status MustHaveControllers(const CgroupPlan& plan, const std::string& unified) {
  auto text = ReadFile(unified + "/cgroup.controllers", 4096);
  if (!text) return text.error();
  for (const CgroupWrite& write : plan.writes) {
    const std::string controller = write.file.substr(0, write.file.find('.'));
    if (!write.controller.empty() || controller == "cgroup" || Has(TrimEnd(*text), controller)) continue;
    return Error::Coded("ERR_UNSUPPORTED",
                        write.field + ": on cgroup v2 a process's own cgroup has the " + controller +
                            " controller only if the container was created with subgroups: true");
  }
  return Ok();
}

}  // namespace

Result<std::string> LiveContainer::MakeOwnCgroup() {
  auto record = LoadRecord();
  if (!record) return record.error();
  auto name = NewOwnCgroupName();
  if (!name) return name.error();
  auto made = lc::MakeOwnCgroup(record->cgroups, *name);
  if (!made) return made.error();
  return *name;
}

Status LiveContainer::RemoveOwnCgroup(const std::string& name) {
  auto record = LoadRecord();
  if (!record) return record.error();
  (void)CgroupRemoval(Directories(FindOwnCgroup(record->cgroups, name)), CgroupRemoval::Extent::kTops)
      .Work(WalkDeadline());
  return Ok();
}

Result<UniqueFd> LiveContainer::UpdateOwn(const Resources& resources, const PlanOptions& options) {
  auto record = LoadRuntimeRecord(query_.roots, query_.id);
  if (!record) return record.error();
  auto container = RecordedCgroups(*record);
  if (!container) return container.error();
  CgroupPaths own = FindOwnCgroup(*container, query_.within);
  if (own.empty()) return OwnGone();
  const CgroupPaths all = Below(*container, query_.within);
  auto plan = PlanUpdate(resources, all, options, CurrentOf(all));
  if (!plan) return plan.error();
  if (own.is_v2_only()) {
    auto able = MustHaveControllers(*plan, own.unified);
    if (!able) return able.error();
  }
  for (const CgroupWrite& write : plan->writes) {
    if (write.controller.empty()) continue;
    auto extended = ExtendOwnCgroup(*container, query_.within, write.controller, &own);
    if (!extended) return extended.error();
  }
  auto applied = ApplyPlan(all, *plan);
  if (!applied) return applied.error();
  return UniqueFd();
}

}  // namespace lc
