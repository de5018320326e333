// Starts and execs under way: private to container*.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nsexec/parent.h"
#include "shim/container.h"

namespace lc::shim {

inline constexpr int64_t kFifoRetryMs = 5;
inline constexpr int64_t kDefaultTimeoutMs = 15000;
inline constexpr int64_t kUndoTimeoutMs = 10000;
inline constexpr int64_t kCreateGraceMs = 2000;

// What a shim is in the middle of, for the one that takes over from it. ':' is in no process id.
inline constexpr const char* kStarting = "init/starting";
inline constexpr const char* kDeleting = ":deleting";
// The boot in which init was started: pids and start times of another one mean nothing.
inline constexpr const char* kBootId = "init/bootId";
inline constexpr const char* kRuntimePid = "init/runtime.pid";

struct Container::StartOperation {
  Asker asker;
  std::vector<Asker> cancels;
  bool terminal = false;
  bool wait_created = false;
  std::unique_ptr<ProcessStdio> stdio;
  UniqueFd console_listener;
  UniqueFd console_connection;
  UniqueFd console;  // the terminal's master, sent by the runtime
  EventLoop::TimerId timer = 0;
  EventLoop::TimerId retry = 0;
  pid_t init_pid = 0;
  bool created = false;  // the runtime made it; undoing means deleting
  bool runtime_ran = false;
  bool undoing = false;
  std::vector<std::function<void()>> after_undo;
  Error error;
  std::string log;
};

struct Container::ExecOperation {
  Asker asker;
  std::vector<Asker> cancels;
  std::shared_ptr<Process> process;
  nsexec::Plan plan;
  std::string body;
  std::string directory;  // of its record, once there is one
  UniqueFd channel;
  UniqueFd terminal;
  EventLoop::TimerId timer = 0;
  EventLoop::TimerId retry = 0;
  std::optional<Error> failed;
};

// The kernel's random id of this boot; empty where it cannot be read.
std::string BootId();

// True for one that never came to execve(2), zombie or not.
bool NeverExecuted(pid_t pid);

// `{"timeoutMs": 100}`; the default where it is left out.
int64_t TimeoutOf(const JsonValue& request);

}  // namespace lc::shim
