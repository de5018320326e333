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
#include "shim/pump.h"

namespace lc::shim {

struct StdioSpec {
  enum class Kind { kNull, kPath, kFd };
  Kind kind = Kind::kNull;
  std::string path;
  UniqueFd fd;
};

// `[{"kind":"fd"},{"kind":"path","path":"/x"},{"kind":"null"}]`; descriptors are taken in order.
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

  // One try. False: a FIFO of output has no reader yet (its path is `waiting_for`), try again later.
  Result<bool> Open(bool terminal);
  const std::string& waiting_for() const { return waiting_for_; }

  int child(int stream) const { return is_null_[stream] ? null_device_ : child_[stream].get(); }
  void CloseChildSide();  // after the fork

  // Starts the copying; `terminal` is the master side, when there is one.
  void Begin(UniqueFd terminal);
  Status Resize(uint16_t rows, uint16_t columns);
  bool has_terminal() const { return static_cast<bool>(terminal_); }

  void CloseStdin();

  // The process is gone. What it wrote to its terminal is taken off it, and said how much that was in all:
  // whoever reads the other end knows when it has everything.
  uint64_t ProcessExited();

  // No copying is under way any more: nothing of it needs the shim.
  bool idle() const { return in_ == nullptr && out_ == nullptr; }

 private:
  Status OpenInput(StdioSpec* spec, bool terminal);
  Result<bool> OpenOutput(StdioSpec* spec, int stream, bool terminal);
  void HangUp();

  EventLoop& loop_;
  int null_device_;
  std::vector<StdioSpec> specs_;
  std::string waiting_for_;
  UniqueFd child_[3];
  UniqueFd hold_[3];       // of a terminal: the read side of its FIFO of output
  UniqueFd input_source_;  // FIFO of input, and the pipe it is copied to
  UniqueFd input_sink_;
  UniqueFd terminal_;
  bool is_null_[3] = {false, false, false};
  std::unique_ptr<Pump> in_;
  std::unique_ptr<Pump> out_;
  uint64_t terminal_taken_ = 0;  // by out_, once that is gone
};

}  // namespace lc::shim
