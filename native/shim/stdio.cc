// A process's standard streams: opened for it, and what must be held or copied while it runs.
#include "shim/stdio.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "shim/device_node.h"
#include "shim/null_device.h"
#include "shim/relay.h"

namespace lc::shim {
namespace {

constexpr const char* kNames[3] = {"stdin", "stdout", "stderr"};
// Of output on its way to a file: as much as a pipe holds.
constexpr size_t kFileBytes = 65536;
constexpr unsigned kMemoryMajor = 1;  // /dev/zero, /dev/full, /dev/urandom and the like
constexpr int kKeptFlags = O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC;

Result<mode_t> KindOf(int fd, const std::string& path = {}) {
  struct stat st {};
  if (fstat(fd, &st) != 0) return Error::Sys("fstat", path);
  return st.st_mode & S_IFMT;
}

bool IsRegular(int fd) {
  const auto kind = KindOf(fd);
  return kind && *kind == S_IFREG;
}

bool IsFifo(const std::string& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0 && S_ISFIFO(st.st_mode);
}

bool IsSame(int fd, int other) {
  struct stat a {};
  struct stat b {};
  return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A directory is a door to all below it, and O_PATH one to the inode; what else there is can be neither read
// nor written.
Status Allowed(int stream, int fd) {
  std::string name = kNames[stream];
  const auto known = KindOf(fd);
  if (!known) return known.error();
  const mode_t kind = *known;
  if (kind == S_IFDIR)
    return Error::Coded("ERR_INVALID_ARG_VALUE", name + " is a directory, which a container must not hold");
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return Error::Sys("fcntl");
  if ((flags & O_PATH) != 0)
    return Error::Coded("ERR_INVALID_ARG_VALUE",
                        name + " is open with O_PATH, for neither reading nor writing");
  if (kind == S_IFREG || kind == S_IFIFO || kind == S_IFSOCK || kind == S_IFCHR || kind == S_IFBLK)
    return Ok();
  return Error::Coded("ERR_INVALID_ARG_VALUE", name + " is no file, pipe, socket or device");
}

// A blocking open file beside `fd`, whose own flags stay as they are. Empty where it cannot be opened again.
UniqueFd ReopenBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return {};
  UniqueFd again = Reopen(fd, (flags & O_ACCMODE) | O_NONBLOCK);
  if (again) SetBlocking(again.get(), true);
  return again;
}

}  // namespace

Status ProcessStdio::OpenInput(StdioSpec* spec, bool terminal) {
  if (spec->kind == StdioSpec::Kind::kNull) {
    is_null_[0] = true;
    return Ok();
  }
  if (spec->kind == StdioSpec::Kind::kFd) {
    if (!terminal) return TakeFd(spec, 0, {});
    child_[0] = std::move(spec->fd);
    return Ok();
  }
  own_[0] = true;
  if (!IsFifo(spec->path)) {
    UniqueFd file(open(spec->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!file) return Error::Sys("open", spec->path);
    const auto kind = KindOf(file.get(), spec->path);
    if (!kind) return kind.error();
    if (*kind == S_IFREG && !spec->direct && !terminal) return TakeInputFile(std::move(file));
    SetBlocking(file.get(), true);
    child_[0] = std::move(file);
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
  copies_[0] = {Endpoint(std::move(fifo)), Endpoint(UniqueFd(ends[1]))};
  return Ok();
}

// The child gets the file's bytes by a pipe. As many as fit are there before it runs, so that for most files
// nothing is left to be done.
Status ProcessStdio::TakeInputFile(UniqueFd file) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Sys("pipe2");
  child_[0].Reset(ends[0]);
  copies_[0].to = Endpoint(UniqueFd(ends[1]));
  input_file_ = std::move(file);
  FillInput();
  return Ok();
}

// Without moving the file's offset, which the caller may share: the process may yet come to nothing.
void ProcessStdio::FillInput() {
  input_at_ = lseek(input_file_.get(), 0, SEEK_CUR);
  char chunk[16384];
  while (input_at_ >= 0) {
    ssize_t n = pread(input_file_.get(), chunk, sizeof(chunk), input_at_ + static_cast<off_t>(input_filled_));
    input_whole_ = n == 0;
    if (n <= 0) return;
    ssize_t written = copies_[0].to.Write(chunk, static_cast<size_t>(n));
    if (written > 0) input_filled_ += static_cast<size_t>(written);
    if (written < n) return;
  }
}

// By a process of its own: it goes on when this shim is killed, and may wait for the disk and the reader.
Status ProcessStdio::BeginInputFile() {
  if (input_at_ >= 0) lseek(input_file_.get(), input_at_ + static_cast<off_t>(input_filled_), SEEK_SET);
  UniqueFd file = std::move(input_file_);
  Copy copy = std::move(copies_[0]);
  if (input_whole_) return Ok();
  SetBlocking(copy.to.get(), true);
  auto relay = StartRelay(file.get(), copy.to.get());
  return relay ? Ok() : Status(relay.error());
}

Result<bool> ProcessStdio::OpenOutput(StdioSpec* spec, int stream, bool terminal,
                                      const std::string& directory) {
  if (spec->kind == StdioSpec::Kind::kNull) {
    is_null_[stream] = true;
    return true;
  }
  if (spec->kind == StdioSpec::Kind::kFd) {
    if (!terminal) {
      auto taken = TakeFd(spec, stream, directory);
      return taken ? Result<bool>(true) : taken.error();
    }
    child_[stream] = std::move(spec->fd);
    return true;
  }
  own_[stream] = true;
  const char* path = spec->path.c_str();
  if (!IsFifo(spec->path)) {
    // Appended, so that others may write to the file too.
    constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    UniqueFd file(open(path, kFlags, 0600));
    if (!file) return Error::Sys("open", spec->path);
    const auto kind = KindOf(file.get(), spec->path);
    if (!kind) return kind.error();
    if (*kind == S_IFREG && !spec->direct && !terminal) {
      auto taken = TakeOutputFile(FileSink(std::move(file), spec->path), stream, directory);
      return taken ? Result<bool>(true) : taken.error();
    }
    SetBlocking(file.get(), true);
    child_[stream] = std::move(file);
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

Status ProcessStdio::TakeOutputFile(FileSink sink, int stream, const std::string& directory) {
  if (stream == 2 && keepers_[1] && keepers_[1]->sink() != nullptr && keepers_[1]->sink()->Same(sink)) {
    joined_ = true;
    return Ok();
  }
  auto keeper =
      Keeper::Create(loop_, directory + "/" + kNames[stream], kFileBytes, std::optional(std::move(sink)));
  if (!keeper) return keeper.error();
  keepers_[stream] = std::move(*keeper);
  return Ok();
}

// A descriptor of the program's. O_NONBLOCK is no matter of the child's, and may be set at any time by a
// program that uses the same open file; to clear it there would make that program wait.
Status ProcessStdio::TakeFd(StdioSpec* spec, int stream, const std::string& directory) {
  UniqueFd fd = std::move(spec->fd);
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0) return Error::Sys("fcntl");
  bool waits = (flags & (O_NONBLOCK | O_PATH)) == 0;
  const auto known = KindOf(fd.get());
  if (!known) return known.error();
  const mode_t kind = *known;
  if (kind == S_IFREG && !spec->direct && (flags & O_PATH) == 0) {
    if (stream == 0) return TakeInputFile(std::move(fd));
    return TakeOutputFile(FileSink(std::move(fd), {}), stream, directory);
  }
  if (kind == S_IFSOCK && !waits) return TakeSocket(std::move(fd), stream);
  if ((kind == S_IFIFO && spec->shared) || (kind == S_IFCHR && !waits)) {
    UniqueFd again = ReopenBlocking(fd.get());
    // A terminal by its name /dev/tty cannot be opened from here: as libuv does, then.
    if (!again && kind == S_IFCHR) SetBlocking(fd.get(), true);
    if (again) fd = std::move(again);
  }
  child_[stream] = std::move(fd);
  return Ok();
}

// It cannot be opened again, and stays non-blocking for the program: the child gets a pipe beside it.
Status ProcessStdio::TakeSocket(UniqueFd fd, int stream) {
  if (stream == 2 && copies_[1].to && IsSame(copies_[1].to.get(), fd.get())) {
    joined_ = true;
    return Ok();
  }
  auto end = Endpoint::Shared(fd.get(), stream == 0 ? O_RDONLY : O_WRONLY);
  if (!end) return end.error();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Sys("pipe2");
  child_[stream].Reset(ends[stream == 0 ? 0 : 1]);
  Endpoint ours{UniqueFd(ends[stream == 0 ? 1 : 0])};
  copies_[stream] =
      stream == 0 ? Copy{std::move(*end), std::move(ours)} : Copy{std::move(ours), std::move(*end)};
  return Ok();
}

bool ProcessStdio::may_keep() const {
  return std::any_of(specs_.begin(), specs_.end(), [](const StdioSpec& spec) {
    return spec.kind == StdioSpec::Kind::kKeep || spec.kind == StdioSpec::Kind::kPath ||
           (spec.kind == StdioSpec::Kind::kFd && IsRegular(spec.fd.get()));
  });
}

bool ProcessStdio::idle() const {
  return std::all_of(std::begin(pumps_), std::end(pumps_),
                     [](const auto& pump) { return pump == nullptr; }) &&
         std::all_of(std::begin(keepers_), std::end(keepers_),
                     [](const auto& one) { return one == nullptr; });
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
      auto keeper = Keeper::Create(loop_, directory + "/" + kNames[stream], specs_[stream].keep_bytes, {});
      if (!keeper) return keeper.error();
      keepers_[stream] = std::move(*keeper);
      continue;
    }
    auto done = OpenOutput(&specs_[stream], stream, terminal, directory);
    if (!done || !*done) return done;
  }
  for (int stream = 0; stream < 3; ++stream) {
    if (!child_[stream]) continue;
    auto status = Allowed(stream, child_[stream].get());
    if (!status) return status.error();
    // With a terminal it is this shim alone that holds it.
    if (!terminal) GuardDevice(stream);
  }
  return true;
}

// What the child is to hold of a device is no inode of the host's that it could change: not of /dev/null, by
// whatever name or number (see OwnNull), nor of any other.
void ProcessStdio::GuardDevice(int stream) {
  UniqueFd& fd = child_[stream];
  if (IsNull(fd.get())) {
    is_null_[stream] = true;
    fd.Reset();
    return;
  }
  struct stat st {};
  if (specs_[stream].direct || fstat(fd.get(), &st) != 0 || isatty(fd.get()) == 1) return;
  // An open file of the program's may have a state that another has not, but for memory and disks.
  const bool stateless = S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && major(st.st_rdev) == kMemoryMajor);
  if (!stateless && !(S_ISCHR(st.st_mode) && own_[stream])) return;
  const off_t at = lseek(fd.get(), 0, SEEK_CUR);
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0) return;
  UniqueFd again = OpenOnReadOnlyMount(fd.get(), (flags & kKeptFlags) | O_NONBLOCK);
  if (!again) return;
  SetBlocking(again.get(), true);
  if (at > 0) lseek(again.get(), at, SEEK_SET);
  fd = std::move(again);
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
    auto on_done = [this, stream] {
      if (!keepers_[stream]) return;
      if (keepers_[stream]->sink() == nullptr) kept_[stream] = keepers_[stream]->end();
      loop_.Defer([keeper = std::shared_ptr<Keeper>(std::move(keepers_[stream]))] {});
    };
    // What comes by a terminal only this shim has in hands.
    auto on_less = [this, stream] {
      if (on_less_ && !is_terminal_) on_less_(stream, keepers_[stream]->end());
    };
    keepers_[stream]->Begin(directory + "/" + kNames[stream], on_done, on_less);
  }
}

Result<std::unique_ptr<ProcessStdio>> ProcessStdio::TakeOver(EventLoop& loop, const std::string& directory,
                                                             PipeUsers* users, pid_t pid) {
  auto stdio = std::make_unique<ProcessStdio>(loop, -1, std::vector<StdioSpec>());
  for (int stream = 1; stream <= 2; ++stream) {
    auto keeper = Keeper::Reopen(loop, directory + "/" + kNames[stream], users, pid);
    // Without its reader a program that writes would stand still.
    if (!keeper && IsShortage(keeper.error())) return keeper.error();
    if (keeper) stdio->keepers_[stream] = std::move(*keeper);
  }
  stdio->BeginKeepers(directory);
  return stdio;
}

Result<Following> ProcessStdio::Follow(int stream, uint64_t at, UniqueFd to, const std::string& directory,
                                       PipeUsers* users, pid_t pid) {
  if (!keepers_[stream]) {
    auto keeper = Keeper::Reopen(loop_, directory + "/" + kNames[stream], users, pid);
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
    is_terminal_ = true;
    return BeginTerminal();
  }
  CloseChildSide();
  if (input_file_) {
    auto begun = BeginInputFile();
    if (!begun) return begun;
  }
  for (int stream = 0; stream < 3; ++stream) {
    auto begun = copies_[stream].to ? BeginCopy(stream) : Ok();
    if (!begun) return begun;
  }
  return Ok();
}

Status ProcessStdio::BeginCopy(int stream) {
  Copy copy = std::move(copies_[stream]);
  pumps_[stream] =
      std::make_unique<Pump>(loop_, std::move(copy.from), std::move(copy.to), [this, stream](Pump::End) {
        loop_.Defer([pump = std::shared_ptr<Pump>(std::move(pumps_[stream]))] {});
      });
  return pumps_[stream]->Begin();
}

// What `stream` leads to, to be read or written here instead of by the process.
Result<Endpoint> ProcessStdio::EndOf(int stream, int access_mode) {
  if (own_[stream]) return Endpoint(std::move(child_[stream]));
  return Endpoint::Shared(child(stream), access_mode);
}

Status ProcessStdio::BeginTerminal() {
  SetBlocking(terminal_.get(), false);
  auto sink = EndOf(1, O_WRONLY);
  if (!sink) return sink.error();
  UniqueFd output(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
  if (!output) return Error::Sys("fcntl");
  Endpoint source;
  if (!is_null_[0]) {
    auto input = EndOf(0, O_RDONLY);
    if (!input) return input.error();
    source = std::move(*input);
  }
  CloseChildSide();
  auto on_end = [this](Pump::End end) {
    terminal_taken_ = pumps_[1]->taken();
    loop_.Defer([pump = std::shared_ptr<Pump>(std::move(pumps_[1]))] {});
    // Nobody looks at the terminal any more: hang up, as a closed window does. Or nobody has it any more.
    if (end == Pump::End::kSinkGone || exited_) HangUp();
  };
  pumps_[1] = std::make_unique<Pump>(loop_, Endpoint(std::move(output)), std::move(*sink), on_end);
  auto begun = pumps_[1]->Begin();
  return begun ? BeginTerminalInput(std::move(source)) : begun;
}

// Without a source it is there for the end-of-file character alone, which must not be lost either.
Status ProcessStdio::BeginTerminalInput(Endpoint source) {
  if (!terminal_) return Ok();
  UniqueFd sink(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
  if (!sink) return Error::Sys("fcntl");
  pumps_[0] = std::make_unique<Pump>(loop_, std::move(source), Endpoint(std::move(sink)),
                                     [this](Pump::End end) { TerminalInputEnded(end); });
  return pumps_[0]->Begin();
}

void ProcessStdio::TerminalInputEnded(Pump::End end) {
  if (pumps_[0]->has_source()) line_end_ = pumps_[0]->last();
  loop_.Defer([pump = std::shared_ptr<Pump>(std::move(pumps_[0]))] {});
  if (terminal_ && end == Pump::End::kSourceEnded) EndTerminalInput();
}

// A terminal's end of file is a character. Behind a part of a line it only hands that part over, so there it
// is sent twice. Raw mode hands it to the program, which is its choice.
void ProcessStdio::EndTerminalInput() {
  if (!pumps_[0] && !BeginTerminalInput({})) return;
  if (!pumps_[0]) return;
  termios settings{};
  bool known = tcgetattr(terminal_.get(), &settings) == 0;
  char eof = known ? static_cast<char>(settings.c_cc[VEOF]) : '\x04';
  if (eof == '\0') return;
  bool lines = known && (settings.c_lflag & ICANON) != 0;
  bool at_start = line_end_ == '\n' || line_end_ == '\r' || line_end_ == eof;
  line_end_ = eof;
  pumps_[0]->Add(std::string(lines && !at_start ? 2 : 1, eof));
}

void ProcessStdio::HangUp() {
  pumps_[0].reset();
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
  if (pumps_[0] && pumps_[0]->has_source()) return pumps_[0]->Finish();
  if (terminal_) EndTerminalInput();
}

ProcessStdio::Written ProcessStdio::ProcessExited() {
  exited_ = true;
  // It may be at its end, and so be gone, before this or by it.
  for (int stream = 1; stream <= 2; ++stream) {
    if (pumps_[stream]) pumps_[stream]->TakeAll();
  }
  Written written;
  if (is_terminal_) written.terminal = pumps_[1] ? pumps_[1]->taken() : terminal_taken_;
  for (int stream = 1; stream <= 2; ++stream) {
    written.kept[stream] = keepers_[stream] ? keepers_[stream]->TakeAll() : kept_[stream];
    if (keepers_[stream] && keepers_[stream]->sink() != nullptr) written.kept[stream] = 0;
  }
  // Some of it may still be on its way from the terminal.
  if (written.terminal > 0 && written.kept[1] > 0) written.kept[1] = written.terminal;
  // A terminal may be another process's still: then its output has not come to an end.
  if (!pumps_[1]) HangUp();
  for (UniqueFd& fd : hold_) fd.Reset();
  return written;
}

}  // namespace lc::shim
