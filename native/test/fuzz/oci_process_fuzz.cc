// Whatever JSON a request carries: an OCI process within its ranges, or a refusal.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/json.h"
#include "oci/process_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lc::JsonDocument json;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)lc::ParseCpuList(std::string(text.substr(0, 64)));
  if (!lc::ParseJson(text, &json)) return 0;
  auto process = lc::ParseOciProcess(json);
  if (process.ok() && (process->args.empty() || process->uid == UINT32_MAX)) abort();
  return 0;
}
