// A process's standard streams: opened for it, and what must be held or copied while it runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/keeper.h"
#include "shim/pump.h"

namespace lc::shim {

struct StdioSpec {
  enum class Kind { kNull, kPath, kFd, kKeep };
  Kind kind = Kind::kNull;
  std::string path;
  UniqueFd fd;
  size_t keep_bytes = 0;
};

// `[{"kind":"fd"},{"kind":"path","path":"/x"},{"kind":"keep","bytes":65536}]` or "null"; descriptors are
// taken in order.
Result<std::vector<StdioSpec>> ParseStdio(const JsonValue* json, std::vector<UniqueFd>* fds);

// The null device by its number, 1:3: what a name leads to is anybody's (CVE-2025-31133). ENODEV.
Result<UniqueFd> OpenNull();

// The streams of one process. Files and FIFOs are opened here, in the shim, so that they outlive the program
// that named them. A process holds its FIFO of output for reading too: a reader that goes away is no SIGPIPE,
// and the next one goes on where it left. A FIFO of input is copied through a pipe: end
// of file is closeStdin, not a writer that came and went.
class ProcessStdio {
 public:
  // `null_device` serves every process that is given none of its own: see OpenNull.
  ProcessStdio(EventLoop& loop, int null_device, std::vector<StdioSpec> specs)
      : loop_(loop), null_device_(null_device), specs_(std::move(specs)) {}

  // Those of a process that an earlier shim started: of them what is kept can be read on.
  static Result<std::unique_ptr<ProcessStdio>> TakeOver(EventLoop& loop, const std::string& directory);

  // True where something is kept, for which Open() needs the process's directory.
  bool keeps() const;

  // One try, with the process's directory as it is named now. False: a FIFO of output has no reader yet (its
  // path is `waiting_for`), try again later.
  Result<bool> Open(bool terminal, const std::string& directory);
  const std::string& waiting_for() const { return waiting_for_; }

  int child(int stream) const {
    if (keepers_[stream]) return keepers_[stream]->child();
    return is_null_[stream] ? null_device_ : child_[stream].get();
  }
  void CloseChildSide();  // after the fork

  // Starts the copying; `terminal` is the master side, when there is one. The directory is by now named as it
  // will stay. After an error there is no use in the process, whose streams lead nowhere.
  Status Begin(UniqueFd terminal, const std::string& directory);
  Status Resize(uint16_t rows, uint16_t columns);
  bool has_terminal() const { return static_cast<bool>(terminal_); }

  void CloseStdin();

  // How much a process that is gone has written to its terminal, or where a stream is kept; 0 elsewhere.
  struct Written {
    uint64_t terminal = 0;
    uint64_t kept[3] = {0, 0, 0};
  };
  // The process is gone. What it wrote is taken, and said how much that was in all: whoever reads the other
  // end knows when it has everything.
  Written ProcessExited();

  // `to` gets what is kept of the stream, and then what comes: see Keeper::Follow.
  Result<Following> Follow(int stream, uint64_t at, UniqueFd to, const std::string& directory);

  // No copying is under way any more: nothing of it needs the shim.
  bool idle() const {
    return in_ == nullptr && out_ == nullptr && keepers_[1] == nullptr && keepers_[2] == nullptr;
  }

 private:
  Status OpenInput(StdioSpec* spec, bool terminal);
  Result<bool> OpenOutput(StdioSpec* spec, int stream, bool terminal);
  Status BeginInput(UniqueFd source, UniqueFd sink);
  Status BeginTerminal();
  void HangUp();
  void BeginKeepers(const std::string& directory);

  EventLoop& loop_;
  int null_device_;
  std::vector<StdioSpec> specs_;
  std::string waiting_for_;
  UniqueFd child_[3];
  UniqueFd hold_[3];       // of a terminal: the read side of its FIFO of output
  UniqueFd input_source_;  // FIFO of input, and the pipe it is copied to
  UniqueFd input_sink_;
  UniqueFd terminal_;
  bool exited_ = false;
  std::unique_ptr<Keeper> keepers_[3];
  bool is_null_[3] = {false, false, false};
  std::unique_ptr<Pump> in_;
  std::unique_ptr<Pump> out_;
  uint64_t terminal_taken_ = 0;   // by out_, once that is gone
  uint64_t kept_[3] = {0, 0, 0};  // by keepers_, once those are gone
};

}  // namespace lc::shim
