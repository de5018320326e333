// Whatever lies where a runtime's record should be.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/process_identity.h"
#include "state/runtime_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto runc = lc::ParseRuncState(text, "state.json");
  if (runc.ok() && runc->init_pid < 0) abort();
  (void)lc::ParseCrunStatus(text, "{}", "status");
  (void)lc::ParseCrunStatus(R"({"pid":1})", text, "status");
  (void)lc::ParseProcStat(text);
  return 0;
}
