// A process's standard streams: opened for it, and what must be held or copied while it runs.
#include "shim/stdio.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace lc::shim {
namespace {

constexpr const char* kNames[3] = {"stdin", "stdout", "stderr"};

bool IsFifo(const std::string& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0 && S_ISFIFO(st.st_mode);
}

void SetBlocking(int fd, bool blocking) {
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

}  // namespace

Result<UniqueFd> OpenNull() {
  UniqueFd fd(open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Error::Sys("open", "/dev/null");
  struct stat st {};
  if (fstat(fd.get(), &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
    return Error::Of(ENODEV, "open", "/dev/null");
  }
  return fd;
}

Result<std::vector<StdioSpec>> ParseStdio(const JsonValue* json, std::vector<UniqueFd>* fds) {
  Error invalid = Error::Coded("ERR_INVALID_ARG_VALUE", "stdio is garbled");
  if (json == nullptr || !json->IsArray() || json->Size() != 3) return invalid;
  std::vector<StdioSpec> out;
  size_t next = 0;
  for (const JsonValue& item : json->GetArray()) {
    StdioSpec spec;
    std::string kind = StringMember(item, "kind").value_or("");
    if (kind == "fd") {
      if (next >= fds->size()) return invalid;
      spec.kind = StdioSpec::Kind::kFd;
      spec.fd = std::move((*fds)[next++]);
    } else if (kind == "path") {
      spec.kind = StdioSpec::Kind::kPath;
      spec.path = StringMember(item, "path").value_or("");
      if (spec.path.empty() || spec.path[0] != '/') return invalid;
    } else if (kind == "keep") {
      auto bytes = UintMember(item, "bytes").value_or(0);
      if (out.empty() || bytes == 0 || bytes > KeptBytes::kMaxCapacity) return invalid;
      spec.kind = StdioSpec::Kind::kKeep;
      spec.keep_bytes = bytes;
    } else if (kind != "null") {
      return invalid;
    }
    out.push_back(std::move(spec));
  }
  if (next != fds->size()) return invalid;
  return out;
}

Status ProcessStdio::OpenInput(StdioSpec* spec, bool terminal) {
  if (spec->kind == StdioSpec::Kind::kNull) {
    is_null_[0] = true;
    return Ok();
  }
  if (spec->kind == StdioSpec::Kind::kFd) {
    child_[0] = std::move(spec->fd);
    return Ok();
  }
  if (!IsFifo(spec->path)) {
    child_[0].Reset(open(spec->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!child_[0]) return Error::Sys("open", spec->path);
    return Ok();
  }
  // Read and write: no wait for a writer, and no end of file when one goes away.
  UniqueFd fifo(open(spec->path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fifo) return Error::Sys("open", spec->path);
  if (terminal) {
    child_[0] = std::move(fifo);
    return Ok();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Sys("pipe2", spec->path);
  child_[0].Reset(ends[0]);
  input_sink_.Reset(ends[1]);
  SetBlocking(ends[1], false);
  input_source_ = std::move(fifo);
  return Ok();
}

Result<bool> ProcessStdio::OpenOutput(StdioSpec* spec, int stream, bool terminal) {
  if (spec->kind == StdioSpec::Kind::kNull) {
    is_null_[stream] = true;
    return true;
  }
  if (spec->kind == StdioSpec::Kind::kFd) {
    child_[stream] = std::move(spec->fd);
    return true;
  }
  const char* path = spec->path.c_str();
  if (!IsFifo(spec->path)) {
    // Appended, so that stdout and stderr may name one file.
    child_[stream].Reset(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600));
    if (!child_[stream]) return Error::Sys("open", spec->path);
    return true;
  }
  child_[stream].Reset(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  if (!child_[stream]) {
    if (errno != ENXIO) return Error::Sys("open", spec->path);
    waiting_for_ = spec->path;
    return false;
  }
  if (terminal) {
    hold_[stream].Reset(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!hold_[stream]) return Error::Sys("open", spec->path);
    return true;
  }
  // Its own reader: no SIGPIPE for it, whether the reader goes away or this shim.
  UniqueFd both(open(path, O_RDWR | O_CLOEXEC));
  if (!both) return Error::Sys("open", spec->path);
  child_[stream] = std::move(both);
  return true;
}

bool ProcessStdio::keeps() const {
  for (const StdioSpec& spec : specs_) {
    if (spec.kind == StdioSpec::Kind::kKeep) return true;
  }
  return false;
}

Result<bool> ProcessStdio::Open(bool terminal, const std::string& directory) {
  if (child(0) < 0) {
    auto status = OpenInput(&specs_[0], terminal);
    if (!status) return status.error();
  }
  for (int stream = 1; stream <= 2; ++stream) {
    if (child(stream) >= 0) continue;
    // A terminal has one output; its stderr is not used.
    if (terminal && stream == 2) {
      specs_[2].fd.Reset();
      continue;
    }
    if (specs_[stream].kind == StdioSpec::Kind::kKeep) {
      auto keeper = Keeper::Create(loop_, directory + "/" + kNames[stream], specs_[stream].keep_bytes);
      if (!keeper) return keeper.error();
      keepers_[stream] = std::move(*keeper);
      continue;
    }
    auto done = OpenOutput(&specs_[stream], stream, terminal);
    if (!done || !*done) return done;
  }
  return true;
}

void ProcessStdio::CloseChildSide() {
  for (UniqueFd& fd : child_) fd.Reset();
  for (auto& keeper : keepers_) {
    if (keeper) keeper->CloseChildSide();
  }
}

void ProcessStdio::BeginKeepers(const std::string& directory) {
  for (int stream = 1; stream <= 2; ++stream) {
    if (!keepers_[stream]) continue;
    // What is kept stays on disk; its descriptors and memory are needed no longer than somebody writes or
    // reads.
    keepers_[stream]->Begin(directory + "/" + kNames[stream], [this, stream] {
      if (!keepers_[stream]) return;
      kept_[stream] = keepers_[stream]->end();
      loop_.Defer([keeper = std::shared_ptr<Keeper>(std::move(keepers_[stream]))] {});
    });
  }
}

Result<std::unique_ptr<ProcessStdio>> ProcessStdio::TakeOver(EventLoop& loop, const std::string& directory) {
  auto stdio = std::make_unique<ProcessStdio>(loop, -1, std::vector<StdioSpec>());
  for (int stream = 1; stream <= 2; ++stream) {
    auto keeper = Keeper::Reopen(loop, directory + "/" + kNames[stream]);
    // Without its reader a program that writes would stand still.
    if (!keeper && IsShortage(keeper.error())) return keeper.error();
    if (keeper) stdio->keepers_[stream] = std::move(*keeper);
  }
  stdio->BeginKeepers(directory);
  return stdio;
}

Result<Following> ProcessStdio::Follow(int stream, uint64_t at, UniqueFd to, const std::string& directory) {
  if (!keepers_[stream]) {
    auto keeper = Keeper::Reopen(loop_, directory + "/" + kNames[stream]);
    // Nothing was kept: the stream is at its end.
    if (!keeper && keeper.error().err == ENOENT) return Following{at, true};
    if (!keeper) return keeper.error();
    keepers_[stream] = std::move(*keeper);
    BeginKeepers(directory);
  }
  return keepers_[stream]->Follow(at, std::move(to));
}

Status ProcessStdio::Begin(UniqueFd terminal, const std::string& directory) {
  BeginKeepers(directory);
  if (terminal) {
    terminal_ = std::move(terminal);
    return BeginTerminal();
  }
  CloseChildSide();
  if (!input_source_) return Ok();
  return BeginInput(std::move(input_source_), std::move(input_sink_));
}

Status ProcessStdio::BeginInput(UniqueFd source, UniqueFd sink) {
  in_ = std::make_unique<Pump>(loop_, std::move(source), std::move(sink), [this](Pump::End end) {
    loop_.Defer([pump = std::shared_ptr<Pump>(std::move(in_))] {});
    if (terminal_ && end == Pump::End::kSourceEnded) CloseStdin();
  });
  return in_->Begin();
}

Status ProcessStdio::BeginTerminal() {
  SetBlocking(terminal_.get(), false);
  UniqueFd sink = ReopenNonBlocking(child(1), O_WRONLY);
  if (!sink) return Error::Sys("open");
  UniqueFd output(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
  if (!output) return Error::Sys("fcntl");
  UniqueFd source;
  UniqueFd input;
  if (!is_null_[0]) {
    source = ReopenNonBlocking(child(0), O_RDONLY);
    if (!source) return Error::Sys("open");
    input.Reset(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
    if (!input) return Error::Sys("fcntl");
  }
  CloseChildSide();
  out_ = std::make_unique<Pump>(loop_, std::move(output), std::move(sink), [this](Pump::End end) {
    terminal_taken_ = out_->taken();
    loop_.Defer([pump = std::shared_ptr<Pump>(std::move(out_))] {});
    // Nobody looks at the terminal any more: hang up, as a closed window does. Or nobody has it any more.
    if (end == Pump::End::kSinkGone || exited_) HangUp();
  });
  auto begun = out_->Begin();
  if (!begun || !source) return begun;
  return BeginInput(std::move(source), std::move(input));
}

void ProcessStdio::HangUp() {
  in_.reset();
  terminal_.Reset();
}

Status ProcessStdio::Resize(uint16_t rows, uint16_t columns) {
  if (!terminal_) return Error::Coded("ERR_NOT_A_TERMINAL", "the process has no terminal");
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  if (ioctl(terminal_.get(), TIOCSWINSZ, &size) != 0) return Error::Sys("TIOCSWINSZ");
  return Ok();
}

void ProcessStdio::CloseStdin() {
  if (terminal_) {
    // A terminal's end of file is a character; raw mode hands it to the program, which is its choice.
    termios settings{};
    char eof = tcgetattr(terminal_.get(), &settings) == 0 ? static_cast<char>(settings.c_cc[VEOF]) : '\x04';
    if (eof != '\0' && write(terminal_.get(), &eof, 1) < 0 && errno != EAGAIN) HangUp();
    return;
  }
  if (in_) in_->Finish();
}

ProcessStdio::Written ProcessStdio::ProcessExited() {
  exited_ = true;
  // It may be at its end, and so be gone, before this or by it.
  if (out_) out_->TakeAll();
  Written written;
  written.terminal = out_ ? out_->taken() : terminal_taken_;
  for (int stream = 1; stream <= 2; ++stream) {
    written.kept[stream] = keepers_[stream] ? keepers_[stream]->TakeAll() : kept_[stream];
  }
  // Some of it may still be on its way from the terminal.
  if (written.terminal > 0 && written.kept[1] > 0) written.kept[1] = written.terminal;
  // A terminal may be another process's still: then its output has not come to an end.
  if (!out_) HangUp();
  for (UniqueFd& fd : hold_) fd.Reset();
  return written;
}

}  // namespace lc::shim
