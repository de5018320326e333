// A container's state directory: what its marks are called, and all of it read in one pass.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace lc {

// What a shim is in the middle of, for the one that takes over from it. ':' is in no process id.
inline constexpr const char* kStarting = "init/starting";
inline constexpr const char* kDumping = "init/dumping";  // the checkpoint under way: its name
inline constexpr const char* kDeleting = ":deleting";
// While init is not known: the runtime had no container of this id when this one's start ran it, so what is
// there is ours. It holds the paths of the cgroups that were not there then, each with a NUL byte after it.
inline constexpr const char* kOwnRecord = ":record";
// The boot in which init was started: pids and start times of another one mean nothing.
inline constexpr const char* kBootId = "init/bootId";
// The pid namespace in which the pids of the records count.
inline constexpr const char* kPidNamespace = "init/pidNamespace";

// Of a process directory, as text. Without a value: there is no such file; empty: it cannot be read.
struct ProcessText {
  std::string id;
  Result<std::string> process = std::string();  // process.json
  std::optional<std::string> pid;
  std::optional<std::string> starttime;
  std::optional<std::string> exit_status;
  std::optional<std::string> exit;  // exit.json
  std::optional<std::string> own;   // own.json: how the shim looks after it, if that is more than its exit
  double exit_status_ms = 0;        // when exitStatus was written, since 1970
};

struct StateDirectory {
  bool unfinished = false;    // a start, a checkpoint or a delete is under way, or was cut off
  bool earlier_boot = false;  // init was started before this machine's last boot, or in another pid namespace
  std::vector<ProcessText> processes;
};

// ENOENT where there is none. No process is read from the files of two: the shim moves the directory of a
// removed one away and fills its files anew for the next, and makes an exit status known by moving it in.
Result<StateDirectory> ReadStateDirectory(const std::string& path);

// Whether that mark is there, relative to the directory. What cannot be seen now is an error.
Result<bool> HasMark(int dir_fd, const char* mark);

// True where both boots are known and are not the same, or both pid namespaces: the pids there are other
// processes' here. Of another namespace it is known beforehand that no shim serves the container from there.
Result<bool> IsOfEarlierBoot(int dir_fd);

// The kernel's random id of this boot; empty on a system that does not tell it.
Result<std::string> BootId();

// This process's pid namespace, as `pid:[4026531836]`; empty where /proc does not tell it.
Result<std::string> PidNamespace();

}  // namespace lc
