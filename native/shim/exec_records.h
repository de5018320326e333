// The records of execs on disk: each directory appears whole, under its process's name, or not at all.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lc::shim {

class ExecRecords {
 public:
  // Makes the files of the next record now, while nobody waits. What fails here is told by Write().
  void Prepare();

  // EEXIST, ENOTEMPTY or ENOTDIR when something has the name; then, as after any error, nothing is there.
  Status Write(const std::string& process, std::string_view json, pid_t pid, uint64_t start);

  // What an earlier shim had prepared.
  static void RemoveLeft();

 private:
  Status Make();

  bool prepared_ = false;
};

}  // namespace lc::shim
