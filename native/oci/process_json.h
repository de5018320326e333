// Reads an OCI `process` object and checks its ranges.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "oci/process.h"

namespace lc {

// Which members of a process its caller typed. All others come from the container's config.json, which the
// runtime has accepted: they are taken as the runtime takes them, and what it ignores is ignored.
struct TypedMembers {
  bool all = true;
  std::vector<std::string> names;
  bool crun = false;  // whose config.json it is

  bool Has(std::string_view name) const {
    return all || std::find(names.begin(), names.end(), name) != names.end();
  }
};

// ERR_INVALID_ARG_VALUE, naming the field as `spec.user.uid`, for what the specification does not allow.
Result<OciProcess> ParseOciProcess(const JsonValue& json, const TypedMembers& typed = {});

// "0-2,5" -> {0,1,2,5}. Bounded: CPU numbers up to 8191.
Result<std::vector<int>> ParseCpuList(const std::string& text);

}  // namespace lc
