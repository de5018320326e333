// What a request says of a process's standard streams.
#include "shim/stdio_spec.h"

#include "shim/kept_bytes.h"

namespace lc::shim {

Result<std::vector<StdioSpec>> ParseStdio(const JsonValue* json, std::vector<UniqueFd>* fds) {
  Error invalid = Error::Coded("ERR_INVALID_ARG_VALUE", "stdio is garbled");
  if (json == nullptr || !json->IsArray() || json->Size() != 3) return invalid;
  std::vector<StdioSpec> out;
  size_t next = 0;
  for (const JsonValue& item : json->GetArray()) {
    StdioSpec spec;
    std::string kind = StringMember(item, "kind").value_or("");
    spec.direct = BoolMember(item, "direct").value_or(false);
    if (kind == "fd") {
      if (next >= fds->size()) return invalid;
      spec.kind = StdioSpec::Kind::kFd;
      spec.fd = std::move((*fds)[next++]);
      spec.shared = BoolMember(item, "shared").value_or(false);
    } else if (kind == "path") {
      spec.kind = StdioSpec::Kind::kPath;
      spec.path = StringMember(item, "path").value_or("");
      if (spec.path.empty() || spec.path[0] != '/') return invalid;
    } else if (kind == "keep") {
      auto bytes = UintMember(item, "bytes").value_or(0);
      if (out.empty() || bytes == 0 || bytes > KeptBytes::kMaxCapacity) return invalid;
      spec.kind = StdioSpec::Kind::kKeep;
      spec.keep_bytes = bytes;
    } else if (kind != "null") {
      return invalid;
    }
    out.push_back(std::move(spec));
  }
  if (next != fds->size()) return invalid;
  return out;
}

}  // namespace lc::shim
