// A process's standard streams: opened for it, and what must be held or copied while it runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/endpoint.h"
#include "shim/event_loop.h"
#include "shim/keeper.h"
#include "shim/pipe_users.h"
#include "shim/pump.h"
#include "shim/stdio_spec.h"

namespace lc::shim {

// The streams of one process. Files and FIFOs are opened here, in the shim, so that they outlive the program
// that named them. A process holds its FIFO of output for reading too: a reader that goes away is no SIGPIPE,
// and the next one goes on where it left. A FIFO of input is copied through a pipe: end
// of file is closeStdin, not a writer that came and went. A regular file is not handed over: a container
// could make a setuid program of it. Its bytes are copied, through a Keeper or, of input, by what fits into a
// pipe and a relay for the rest.
class ProcessStdio {
 public:
  // `null_device` serves every process that is given none of its own: see OwnNull.
  ProcessStdio(EventLoop& loop, int null_device, std::vector<StdioSpec> specs)
      : loop_(loop), null_device_(null_device), specs_(std::move(specs)) {}

  // Those of a process that an earlier shim started: of them what is kept can be read on.
  static Result<std::unique_ptr<ProcessStdio>> TakeOver(EventLoop& loop, const std::string& directory,
                                                        PipeUsers* users, pid_t pid);

  // True where something may be kept, for which Open() needs the process's directory.
  bool may_keep() const;

  // Told when less comes of a kept stream than Written said, since another process has read from the pipe.
  using OnLess = std::function<void(int stream, uint64_t written)>;
  void set_on_less(OnLess on_less) { on_less_ = std::move(on_less); }

  // One try, with the process's directory as it is named now. False: a FIFO of output has no reader yet (its
  // path is `waiting_for`), try again later.
  Result<bool> Open(bool terminal, const std::string& directory);
  const std::string& waiting_for() const { return waiting_for_; }

  int child(int stream) const {
    if (stream == 2 && joined_) return child(1);
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
  Result<Following> Follow(int stream, uint64_t at, UniqueFd to, const std::string& directory,
                           PipeUsers* users, pid_t pid);

  // No copying is under way any more: nothing of it needs the shim.
  bool idle() const;

 private:
  struct Copy {
    Endpoint from;
    Endpoint to;
  };

  Status OpenInput(StdioSpec* spec, bool terminal);
  Result<bool> OpenOutput(StdioSpec* spec, int stream, bool terminal, const std::string& directory);
  Status TakeFd(StdioSpec* spec, int stream, const std::string& directory);
  Status TakeSocket(UniqueFd fd, int stream);
  void GuardDevice(int stream);
  Status TakeInputFile(UniqueFd file);
  void FillInput();
  Status BeginInputFile();
  Status TakeOutputFile(FileSink sink, int stream, const std::string& directory);
  Result<Endpoint> EndOf(int stream, int access_mode);
  Status BeginCopy(int stream);
  Status BeginTerminal();
  Status BeginTerminalInput(Endpoint source);
  void TerminalInputEnded(Pump::End end);
  void EndTerminalInput();
  void HangUp();
  void BeginKeepers(const std::string& directory);

  EventLoop& loop_;
  int null_device_;
  std::vector<StdioSpec> specs_;
  std::string waiting_for_;
  OnLess on_less_;
  UniqueFd child_[3];
  bool own_[3] = {false, false, false};  // nobody but this shim holds the open file of child_
  bool is_null_[3] = {false, false, false};
  bool joined_ = false;  // stderr is where stdout is, through one pipe, so that the order is kept
  UniqueFd hold_[3];     // of a terminal: the read side of its FIFO of output
  Copy copies_[3];       // that Begin() begins; of stdin, what is written to is the source
  UniqueFd input_file_;
  off_t input_at_ = -1;      // where reading began
  size_t input_filled_ = 0;  // from there, and in the pipe by now
  bool input_whole_ = false;
  UniqueFd terminal_;
  bool is_terminal_ = false;  // also once that is hung up
  char line_end_ = '\n';      // the last byte that came to the terminal
  bool exited_ = false;
  std::unique_ptr<Keeper> keepers_[3];
  std::unique_ptr<Pump> pumps_[3];  // of a terminal: its input and its output
  uint64_t terminal_taken_ = 0;     // by the terminal's output, once that is gone
  uint64_t kept_[3] = {0, 0, 0};    // by keepers_, once those are gone
};

}  // namespace lc::shim
