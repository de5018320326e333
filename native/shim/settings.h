// What state.json says of the container that this shim serves.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace lc::shim {

struct Settings {
  std::string directory;  // absolute: <root>/<id>, also the working directory
  std::string id;
  std::string bundle;
  std::string runtime = "runc";
  std::vector<std::string> runtime_args;
  bool no_pivot_root = false;
  bool ephemeral = false;
  bool subgroups = false;
  pid_t owner_pid = 0;  // the program that an ephemeral container belongs to
  uint64_t owner_start = 0;
  std::string owner_namespace;  // in which that pid counts, as PidNamespace(); empty: not known
  mode_t umask = 022;           // of the program that started this shim: the runtime's and its hooks'
};

// ERR_STATE_CORRUPT, with the path, where state.json is not what it should be.
Result<Settings> LoadSettings(const std::string& directory);

}  // namespace lc::shim
