// The patch of runc's record: any text as a record, any JSON as resources. What comes out of a record is a
// record again, patching twice is patching once, and our tokenizer accepts nothing that RapidJSON refuses.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cgroup/update/json_text.h"
#include "cgroup/update/plan.h"
#include "cgroup/update/record_patch.h"
#include "cgroup/update/resources_json.h"
#include "cgroup/update/writer.h"
#include "core/json.h"

namespace {

void CheckPatch(std::string_view text, const lc::Resources& resources) {
  auto record = lc::RuncRecord::Parse(std::string(text), "/p");
  if (!record) return;
  if (!lc::IsJson(text)) abort();
  (void)record->memory();
  std::string once = record->Patch(resources, {});
  if (!lc::IsJson(once)) abort();
  auto again = lc::RuncRecord::Parse(once, "/p");
  if (!again || again->Patch(resources, {}) != once) abort();
}

void CheckPlan(const lc::Resources& resources, std::string_view text) {
  lc::CgroupPaths v1;
  for (const char* name : {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "rdma"})
    v1.v1.push_back({name, "/c"});
  lc::CgroupPaths v2;
  v2.unified = "/c";
  for (const lc::CgroupPaths& paths : {v1, v2}) {
    auto plan = lc::PlanUpdate(resources, paths, {},
                               [&](const std::string&, const char*) { return std::string(text); });
    if (!plan) continue;
    for (const lc::CgroupWrite& write : plan->writes) {
      // Never a path out of the cgroup's own directory.
      if (write.file.empty() || write.file.find('/') != std::string::npos || write.file == "..") abort();
      (void)lc::ValueToRestore(write, text);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  lc::JsonDocument document;
  // (The other way round does not hold: RapidJSON has limits on numbers. It also passes over parts of a byte
  // order mark.)
  bool accepted = document
                      .Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag>(
                          text.data(), text.size())
                      .HasParseError() == false;
  bool ours = lc::IsJson(text);
  bool plain = !text.empty() && text[0] == '{' && text.find('\0') == std::string_view::npos;
  if (accepted && !ours && plain) abort();

  lc::Resources sample;
  sample.memory.limit = -1;
  sample.cpu.idle = 1;
  sample.block_io.throttle_read_bps.push_back({8, 0, 7});
  sample.hugepage_limits.push_back({"2MB", 4});
  sample.rdma.push_back({"a\"b", 1, 2});
  sample.unified.push_back({"memory.high", "\x01\"\\"});
  CheckPatch(text, sample);
  CheckPatch("{\"config\":{\"cgroups\":" + std::string(text) + "}}", sample);
  auto resources = lc::ParseResources(text);
  if (resources) {
    CheckPatch("{\"config\":{\"cgroups\":{}}}", *resources);
    CheckPlan(*resources, text);
  }
  return 0;
}
