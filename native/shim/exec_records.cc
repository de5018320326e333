#include "shim/exec_records.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "core/files.h"

namespace lc::shim {
namespace {

// In init's directory, where they are taken for no processes.
constexpr const char* kParent = "init/execs";
constexpr const char* kFiles[] = {"/process.json", "/pid", "/starttime"};

}  // namespace

void ExecRecords::RemoveLeft() {
  (void)RemoveTreeAt(AT_FDCWD, kParent);
}

Result<std::string> ExecRecords::Make() {
  std::string directory = std::string(kParent) + "/" + std::to_string(++serial_);
  if (mkdir(directory.c_str(), 0711) != 0) {
    if (errno != ENOENT || mkdir(kParent, 0711) != 0 || mkdir(directory.c_str(), 0711) != 0)
      return Error::Sys("mkdir", directory);
  }
  for (const char* file : kFiles) {
    auto made = WriteNew(directory + file, {});
    if (made) continue;
    (void)RemoveTreeAt(AT_FDCWD, directory);
    return made.error();
  }
  return directory;
}

void ExecRecords::Prepare() {
  if (!prepared_.empty()) return;
  auto made = Make();
  if (made) prepared_ = std::move(*made);
}

Result<std::string> ExecRecords::Take() {
  if (prepared_.empty()) return Make();
  return std::exchange(prepared_, {});
}

Status ExecRecords::Write(const std::string& directory, const std::string& process, std::string_view json,
                          pid_t pid, uint64_t start) {
  auto status = WriteOnceAt(AT_FDCWD, directory + kFiles[0], json);
  if (status) status = WriteOnceAt(AT_FDCWD, directory + kFiles[1], std::to_string(pid));
  if (status) status = WriteOnceAt(AT_FDCWD, directory + kFiles[2], std::to_string(start));
  return status ? RenameNew(directory, process) : status;
}

// Half a directory would be half a truth should this shim be killed: a process without its exit status.
Status ExecRecords::Remove(const std::string& process) {
  std::string grave = std::string(kParent) + "/" + std::to_string(++serial_) + ".gone";
  bool moved = rename(process.c_str(), grave.c_str()) == 0 ||
               (errno == ENOENT && mkdir(kParent, 0711) == 0 && rename(process.c_str(), grave.c_str()) == 0);
  // On a full disk that has no room for the directory above it, file by file.
  if (!moved) return RemoveTreeAt(AT_FDCWD, process);
  // What withstands a second try is nobody's any more, and goes with the container.
  if (!RemoveTreeAt(AT_FDCWD, grave)) (void)RemoveTreeAt(AT_FDCWD, grave);
  return Ok();
}

}  // namespace lc::shim
