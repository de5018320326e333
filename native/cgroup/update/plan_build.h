// What the v1 and the v2 half of a plan share.
#pragma once

#include <string>
#include <utility>

#include "cgroup/update/plan.h"

namespace lc {

class PlanBuilder {
 public:
  PlanBuilder(const PlanOptions& options, const ReadCurrent& current, CgroupPlan* plan,
              std::string controller)
      : options_(options), current_(current), plan_(plan), controller_(std::move(controller)) {}

  const PlanOptions& options() const { return options_; }
  std::optional<std::string> Read(const char* file) const { return current_(controller_, file); }
  CgroupWrite& Write(const char* field, std::string file, std::string value) {
    CgroupWrite write;
    write.controller = controller_;
    write.file = std::move(file);
    write.value = std::move(value);
    write.field = field;
    plan_->writes.push_back(std::move(write));
    return plan_->writes.back();
  }

 private:
  const PlanOptions& options_;
  const ReadCurrent& current_;
  CgroupPlan* plan_;
  std::string controller_;
};

inline Error Invalid(const std::string& field, const std::string& what) {
  return Error::Coded("ERR_INVALID_ARG_VALUE", field + " " + what, field);
}
inline Error NotOnV2(const char* field) {
  return Error::Coded("ERR_UNSUPPORTED", std::string(field) + " does not exist in cgroup v2", field);
}
inline std::string DeviceName(int64_t major, int64_t minor) {
  return std::to_string(major) + ":" + std::to_string(minor);
}

// checkBeforeUpdate: EBUSY when a new limit is at or below what is used now. `usage` is the file's text.
Status CheckUsage(const Resources::Memory& memory, const std::optional<std::string>& usage);

Status PlanMemoryV1(const Resources::Memory& memory, PlanBuilder plan);
Status PlanCpuV1(const Resources::Cpu& cpu, PlanBuilder plan);
Status PlanBlkioV1(const Resources::BlockIo& block_io, PlanBuilder plan);

Status PlanMemoryV2(const Resources::Memory& memory, PlanBuilder plan);
Status PlanCpuV2(const Resources::Cpu& cpu, PlanBuilder plan);
Status PlanIoV2(const Resources::BlockIo& block_io, PlanBuilder plan);
Status PlanUnified(const std::vector<Resources::Unified>& unified, PlanBuilder plan);

}  // namespace lc
