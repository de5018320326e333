// The records of execs on disk: each directory appears whole, under its process's name, or not at all.
//
// To make a file costs a disk's file system up to half a millisecond (ext4 looks for an inode that was not
// deleted lately), to fill one that is there some microseconds. So the files of a record that is removed
// serve a later one. Whoever reads records beside the shim looks at the directory before and after:
// state/state_directory.cc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lc::shim {

class ExecRecords {
 public:
  // Sees to it now, while nobody waits, that the next record has its directory and files. What fails is told
  // by Take().
  void Prepare();

  // A directory, with the record's files, that is nobody's yet: the caller's to fill, write and remove.
  Result<std::string> Take();

  // What is to run, in a directory that is nobody's yet.
  static Status WriteSpec(const std::string& directory, std::string_view json);
  // How it is looked after, if that is more than its exit: own.json, which is empty else.
  static Status WriteOwn(const std::string& directory, std::string_view json);
  // Which process it has become, and, from then on, its name. EEXIST, ENOTEMPTY or ENOTDIR when something has
  // that.
  static Status Name(const std::string& directory, const std::string& process, pid_t pid, uint64_t start);

  // Takes a process's directory away, in one step for everybody who looks.
  Status Remove(const std::string& process);

  // What an earlier shim had taken, prepared or not yet removed.
  static void RemoveLeft();

 private:
  Result<std::string> Make();
  bool Keep(const std::string& directory);

  std::vector<std::string> prepared_;
  uint64_t serial_ = 0;
};

}  // namespace lc::shim
