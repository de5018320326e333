#include "shim/exec_records.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "core/files.h"

namespace lc::shim {
namespace {

// One is enough, since the shim writes one record at a time. In init's directory, where it is taken for no
// process.
constexpr const char* kNext = "init/next";
constexpr const char* kFiles[] = {"/process.json", "/pid", "/starttime"};

}  // namespace

void ExecRecords::RemoveLeft() {
  (void)RemoveTreeAt(AT_FDCWD, kNext);
}

Status ExecRecords::Make() {
  if (prepared_) return Ok();
  RemoveLeft();
  if (mkdir(kNext, 0711) != 0) return Error::Sys("mkdir", kNext);
  for (const char* file : kFiles) {
    auto made = WriteNew(std::string(kNext) + file, {});
    if (!made) return made;
  }
  prepared_ = true;
  return Ok();
}

void ExecRecords::Prepare() {
  if (!Make()) RemoveLeft();
}

Status ExecRecords::Write(const std::string& process, std::string_view json, pid_t pid, uint64_t start) {
  auto status = Make();
  prepared_ = false;
  const std::string texts[] = {std::string(json), std::to_string(pid), std::to_string(start)};
  for (int i = 0; i < 3 && status; ++i)
    status = WriteOnceAt(AT_FDCWD, std::string(kNext) + kFiles[i], texts[i]);
  if (status) status = RenameNew(kNext, process);
  if (!status) RemoveLeft();
  return status;
}

}  // namespace lc::shim
