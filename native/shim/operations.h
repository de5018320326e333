// Starts, execs and checkpoints under way: private to container*.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/process_identity.h"
#include "nsexec/parent.h"
#include "shim/checkpoint_directory.h"
#include "shim/container.h"
#include "state/state_directory.h"

namespace lc::shim {

inline constexpr int64_t kFifoRetryMs = 5;
inline constexpr int64_t kDefaultTimeoutMs = 15000;
inline constexpr int64_t kUndoTimeoutMs = 10000;
inline constexpr int64_t kCreateGraceMs = 2000;
// Longer than an undo takes whose every step comes to its end: after it the answer is given all the same.
inline constexpr int64_t kUndoAnswerMs = kCreateGraceMs + kUndoTimeoutMs + 3000;
// A second: with nobody left to kill, whoever is still in a cgroup is in its last moments, or in a cgroup
// that this container shares.
inline constexpr int kCgroupTries = 100;
inline constexpr int64_t kDumpGraceMs = 10'000;  // a dump or a restore that goes on without its shim

// The owner's program lives, and connects again when it gets to it.
inline constexpr int64_t kOwnerGraceMs = 10'000;

inline constexpr const char* kRestoring = "init/criu.work";  // where CRIU logs a restore
inline constexpr const char* kConsole = "console.sock";
// For the runtime alone: it makes files there with the mode that its umask leaves.
inline constexpr const char* kRuntimeFiles = "init/runtime";
inline constexpr const char* kRuntimePid = "init/runtime/pid";
inline constexpr const char* kRun = ":run";  // the run of the runtime that is under way: see RuntimeCommand

// What a dump and the restore of it are told alike.
struct CriuOptions {
  bool tcp = false;
  bool unix_sockets = false;
  bool shell = false;
  std::vector<std::string> empty_namespaces;
};

// `{"tcp": true, "unixSockets": false, "shell": false, "emptyNamespaces": ["network"]}`
CriuOptions CriuOptionsOf(const JsonValue& json);
void AddCriuArguments(const CriuOptions& options, std::vector<std::string>* args);

struct Container::StartOperation {
  Asker asker;
  std::vector<Asker> cancels;
  bool terminal = false;
  bool wait_created = false;
  std::string checkpoint;  // its directory, where this start is a restore
  bool restores() const { return !checkpoint.empty(); }
  CriuOptions restore;
  std::unique_ptr<ProcessStdio> stdio;
  UniqueFd console_listener;
  UniqueFd console_connection;
  UniqueFd console;  // the terminal's master, sent by the runtime
  EventLoop::TimerId timer = 0;
  EventLoop::TimerId retry = 0;
  EventLoop::TimerId answer = 0;  // of an undo: when it is answered whatever has become of it
  bool created = false;           // the runtime made it; undoing means deleting
  bool runtime_ran = false;
  bool cut_off = false;  // by the end of an earlier shim
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
  std::vector<UniqueFd> extra_fds;
  std::string directory;  // of its record, once there is one
  pid_t joiner = 0;       // until it is reaped
  std::optional<StartClock> clock;
  bool follow_init = false;
  bool reopened = false;
  bool answered = false;
  UniqueFd report;
  UniqueFd go;
  UniqueFd terminal_socket;
  UniqueFd terminal;
  EventLoop::TimerId timer = 0;
  EventLoop::TimerId retry = 0;
  EventLoop::TimerId end = 0;  // of the wait for the end of a child that was killed
  std::optional<Error> failed;
};

// True for one that never came to execve(2), zombie or not.
bool NeverExecuted(pid_t pid);

struct Container::CheckpointOperation {
  Asker asker;
  std::string name;
  bool exit = false;
  bool pre_dump = false;
  std::string parent;
  CriuOptions options;
  std::string created;  // as the metadata has it
  CheckpointDirectory directory;
  bool runs = false;    // the runtime was started for it
  bool dumped = false;  // and has succeeded
  bool keep = false;
  EventLoop::TimerId timer = 0;

  // The kernel is told to count changed pages from this dump on.
  bool counts_pages() const { return pre_dump || !parent.empty(); }
};

// `{"timeoutMs": 100}`; the default where it is left out.
int64_t TimeoutOf(const JsonValue& request);

// What ends the container's processes, beside a SIGKILL to those that this shim knows.
struct Container::Sweep {
  // Without a pid namespace of its own: everything in its cgroups. With one, init's end is that of all
  // others, once they are thawed.
  std::optional<CgroupSignal> kill;
  CgroupThaw thaw;
  EventLoop::TimerId timer = 0;
};

}  // namespace lc::shim
