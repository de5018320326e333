// What a request says of a process's standard streams.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

struct StdioSpec {
  enum class Kind { kNull, kPath, kFd, kKeep };
  Kind kind = Kind::kNull;
  std::string path;
  UniqueFd fd;
  bool shared = false;  // the program goes on using what `fd` leads to
  bool direct = false;  // a regular file is handed over as it is
  size_t keep_bytes = 0;
};

// `[{"kind":"fd","shared":true},{"kind":"path","path":"/x","direct":true},{"kind":"keep","bytes":65536}]` or
// "null"; descriptors are taken in order.
Result<std::vector<StdioSpec>> ParseStdio(const JsonValue* json, std::vector<UniqueFd>* fds);

}  // namespace lc::shim
