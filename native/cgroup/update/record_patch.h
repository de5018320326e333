// Writes changed limits into the text of runc's state.json, so that runc's next update starts from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "cgroup/update/json_text.h"
#include "cgroup/update/plan.h"
#include "cgroup/update/resources.h"
#include "core/result.h"

namespace lc {

class RuncRecord {
 public:
  // ERR_STATE_CORRUPT when the text is no JSON or has no `config.cgroups`; `path` is for the error alone.
  static Result<RuncRecord> Parse(std::string state_json, const std::string& path);

  // The new text: in `config.cgroups` the keys that the resources name have new values (or are added at its
  // end, since newer runcs leave out what is zero), everything else is the old text byte for byte. Of the
  // lists for devices, page sizes and `unified` only the entries named change.
  std::string Patch(const Resources& resources, const PlanOptions& options) const;

  // Of the container's init; nothing where the record has no such number.
  std::optional<int64_t> init_pid() const { return init_pid_; }

  // For PlanOptions: memory, and memory and swap together, as runc has them. (`runc update` up to 1.1 at
  // least sets to 0 what it was not asked to change.)
  std::optional<int64_t> memory() const { return Number("memory"); }
  std::optional<int64_t> memory_swap() const { return Number("memory_swap"); }

 private:
  RuncRecord(std::string text, JsonObject cgroups, std::optional<int64_t> init_pid)
      : text_(std::move(text)), cgroups_(std::move(cgroups)), init_pid_(init_pid) {}
  std::optional<int64_t> Number(const char* key) const;

  std::string text_;
  JsonObject cgroups_;
  std::optional<int64_t> init_pid_;
};

}  // namespace lc
