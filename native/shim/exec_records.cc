#include "shim/exec_records.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "core/files.h"

namespace lc::shim {
namespace {

// In init's directory, where they are taken for no processes.
constexpr const char* kParent = "init/execs";
constexpr std::string_view kFiles[] = {"process.json", "pid", "starttime", "own.json"};
// Prepared under other names: it is by being there that they say something.
constexpr std::string_view kExitFiles[] = {"exitStatus", "exit.json"};
// Of a disk in memory each holds some 24 KiB.
constexpr size_t kMostPrepared = 16;

std::string PathOf(const std::string& directory, std::string_view file) {
  return directory + "/" + std::string(file);
}

// What makes a directory fit for another process: its files, and what its exit made of them, nothing else.
struct Contents {
  size_t files = 0;
  bool exit[std::size(kExitFiles)] = {};
  bool prepared[std::size(kExitFiles)] = {};
  bool other = false;
};

Contents Look(const std::string& directory) {
  Contents out;
  DIR* scan = opendir(directory.c_str());
  out.other = scan == nullptr;
  if (scan == nullptr) return out;
  while (dirent* entry = readdir(scan)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool known = std::find(std::begin(kFiles), std::end(kFiles), name) != std::end(kFiles);
    if (known) ++out.files;
    for (size_t i = 0; i < std::size(kExitFiles); ++i) {
      bool exit = name == kExitFiles[i];
      bool prepared = name == TemporaryName(std::string(kExitFiles[i]));
      out.exit[i] |= exit;
      out.prepared[i] |= prepared;
      known |= exit || prepared;
    }
    out.other |= !known;
  }
  closedir(scan);
  return out;
}

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
  Status made = Ok();
  for (std::string_view file : kExitFiles) {
    if (made) made = WriteNew(TemporaryName(PathOf(directory, file)), {});
  }
  for (std::string_view file : kFiles) {
    if (made) made = WriteNew(PathOf(directory, file), {});
  }
  if (made) return directory;
  (void)RemoveTreeAt(AT_FDCWD, directory);
  return made.error();
}

void ExecRecords::Prepare() {
  if (!prepared_.empty()) return;
  auto made = Make();
  if (made) prepared_.push_back(std::move(*made));
}

Result<std::string> ExecRecords::Take() {
  if (prepared_.empty()) return Make();
  std::string directory = std::move(prepared_.back());
  prepared_.pop_back();
  return directory;
}

// Out of everybody's sight already. False: to be removed.
bool ExecRecords::Keep(const std::string& directory) {
  if (prepared_.size() >= kMostPrepared) return false;
  const Contents found = Look(directory);
  if (found.other || found.files != std::size(kFiles)) return false;
  for (size_t i = 0; i < std::size(kExitFiles); ++i) {
    if (found.exit[i] == found.prepared[i]) return false;
    const std::string path = PathOf(directory, kExitFiles[i]);
    if (found.exit[i] && rename(path.c_str(), TemporaryName(path).c_str()) != 0) return false;
  }
  // Of most records it is empty, and the next one may leave it so.
  struct stat own {};
  const std::string path = PathOf(directory, kFiles[3]);
  if (stat(path.c_str(), &own) != 0 || (own.st_size > 0 && truncate(path.c_str(), 0) != 0)) return false;
  prepared_.push_back(directory);
  return true;
}

Status ExecRecords::WriteSpec(const std::string& directory, std::string_view json) {
  return WriteOver(PathOf(directory, kFiles[0]), json);
}

Status ExecRecords::WriteOwn(const std::string& directory, std::string_view json) {
  return WriteOver(PathOf(directory, kFiles[3]), json);
}

Status ExecRecords::Name(const std::string& directory, const std::string& process, pid_t pid,
                         uint64_t start) {
  auto status = WriteOver(PathOf(directory, kFiles[1]), std::to_string(pid));
  if (status) status = WriteOver(PathOf(directory, kFiles[2]), std::to_string(start));
  return status ? RenameNew(directory, process) : status;
}

// Half a directory would be half a truth should this shim be killed: a process without its exit status.
Status ExecRecords::Remove(const std::string& process) {
  std::string grave = std::string(kParent) + "/" + std::to_string(++serial_) + ".gone";
  bool moved = rename(process.c_str(), grave.c_str()) == 0 ||
               (errno == ENOENT && mkdir(kParent, 0711) == 0 && rename(process.c_str(), grave.c_str()) == 0);
  // On a full disk that has no room for the directory above it, file by file.
  if (!moved) return RemoveTreeAt(AT_FDCWD, process);
  if (Keep(grave)) return Ok();
  // What withstands a second try is nobody's any more, and goes with the container.
  if (!RemoveTreeAt(AT_FDCWD, grave)) (void)RemoveTreeAt(AT_FDCWD, grave);
  return Ok();
}

}  // namespace lc::shim
