// The shim's parts: event loop, pump, exit records, stdio requests, the runtime's failures.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "core/files.h"
#include "core/process_identity.h"
#include "shim/event_loop.h"
#include "shim/exit_record.h"
#include "shim/null_device.h"
#include "shim/pump.h"
#include "shim/runtime_run.h"
#include "shim/stdio.h"

using lc::UniqueFd;
using lc::shim::EventLoop;
using lc::shim::ExitRecord;
using lc::shim::Pump;

namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { (void)lc::RemoveTreeAt(AT_FDCWD, path); }
  std::string path;
};

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

}  // namespace

TEST_CASE("timers fire in order, cancelled ones never, deferred work after the round") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  std::string order;
  EventLoop::TimerId cancelled = 0;
  // However slow the machine is: each deadline but the first is after the one above it.
  loop.After(600'000, [&] { order += "z"; });
  loop.After(0, [&] {
    order += "a";
    loop.Cancel(cancelled);
    loop.Defer([&] {
      order += "d";
      loop.After(1, [&] {
        order += "b";
        loop.Stop();
      });
    });
  });
  cancelled = loop.After(1, [&] { order += "x"; });
  loop.Run();
  CHECK(order == "adb");
}

TEST_CASE("a descriptor's number that is used again gets no event of its predecessor") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  Pipe first;
  Pipe other;
  int calls = 0;
  REQUIRE(loop.Watch(first.read_end.get(), EPOLLIN,
                     [&](uint32_t) {
                       ++calls;
                       loop.Unwatch(first.read_end.get());
                     })
              .ok());
  REQUIRE(write(first.write_end.get(), "x", 1) == 1);
  loop.After(20, [&] { loop.Stop(); });
  loop.Run();
  CHECK(calls == 1);
}

TEST_CASE("a pump copies all and tells the end; a slow sink holds the source back") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  Pipe in;
  Pipe out;
  bool ended = false;
  Pump pump(loop, std::move(in.read_end), std::move(out.write_end), [&](Pump::End end) {
    CHECK(end == Pump::End::kSourceEnded);
    ended = true;
    loop.Stop();
  });
  REQUIRE(pump.Begin().ok());
  std::string sent;
  std::string got;
  REQUIRE(loop.Watch(in.write_end.get(), EPOLLOUT,
                     [&](uint32_t) {
                       if (sent.size() >= 1000000) {
                         loop.Unwatch(in.write_end.get());
                         in.write_end.Reset();
                         return;
                       }
                       std::string chunk(10000, static_cast<char>('a' + sent.size() / 10000 % 26));
                       ssize_t n = write(in.write_end.get(), chunk.data(), chunk.size());
                       if (n > 0) sent.append(chunk, 0, static_cast<size_t>(n));
                     })
              .ok());
  REQUIRE(loop.Watch(out.read_end.get(), EPOLLIN,
                     [&](uint32_t) {
                       char chunk[3000];
                       ssize_t n = read(out.read_end.get(), chunk, sizeof(chunk));
                       if (n > 0) got.append(chunk, static_cast<size_t>(n));
                     })
              .ok());
  loop.After(60'000, [&] { loop.Stop(); });
  loop.Run();
  CHECK(ended);
  char chunk[65536];
  for (ssize_t n = 0; (n = read(out.read_end.get(), chunk, sizeof(chunk))) > 0;)
    got.append(chunk, static_cast<size_t>(n));
  CHECK(got == sent);
  CHECK(pump.taken() == sent.size());
}

TEST_CASE("a pump whose reader left says so") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  Pipe in;
  Pipe out;
  bool gone = false;
  Pump pump(loop, std::move(in.read_end), std::move(out.write_end), [&](Pump::End end) {
    gone = end == Pump::End::kSinkGone;
    loop.Stop();
  });
  REQUIRE(pump.Begin().ok());
  out.read_end.Reset();
  loop.After(60'000, [&] { loop.Stop(); });
  loop.Run();
  CHECK(gone);
}

TEST_CASE("what a pump takes at an exit is bounded, and what it finishes with is what was there") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  Pipe in;
  Pipe out;
  REQUIRE(fcntl(in.write_end.get(), F_SETPIPE_SZ, 1 << 20) >= 0);
  std::string block(1 << 20, 'x');
  REQUIRE(write(in.write_end.get(), block.data(), block.size()) == static_cast<ssize_t>(block.size()));
  bool ended = false;
  Pump pump(loop, std::move(in.read_end), std::move(out.write_end), [&](Pump::End) { ended = true; });
  REQUIRE(pump.Begin().ok());
  pump.TakeAll();
  CHECK(pump.taken() <= Pump::kMostTaken + 16384);
  pump.Finish();
  // Written after Finish(): no more of it than what makes room.
  size_t got = 0;
  char chunk[65536];
  for (int round = 0; round < 10'000 && !ended; ++round) {
    (void)!write(in.write_end.get(), block.data(), block.size());
    ssize_t n = read(out.read_end.get(), chunk, sizeof(chunk));
    if (n > 0) got += static_cast<size_t>(n);
    loop.RunOnce(10);
  }
  CHECK(ended);
  for (ssize_t n; (n = read(out.read_end.get(), chunk, sizeof(chunk))) > 0;) got += static_cast<size_t>(n);
  CHECK(got == block.size());
}

TEST_CASE("a pump without a source writes what is added, when there is room") {
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  Pipe out;
  std::string fill(4096, 'f');
  while (write(out.write_end.get(), fill.data(), fill.size()) > 0) {
  }
  Pump pump(loop, {}, std::move(out.write_end), [](Pump::End) {});
  REQUIRE(pump.Begin().ok());
  pump.Add("end");
  std::string got;
  char chunk[4096];
  for (int round = 0; round < 1000 && !got.ends_with("end"); ++round) {
    ssize_t n = read(out.read_end.get(), chunk, sizeof(chunk));
    if (n > 0) got.append(chunk, static_cast<size_t>(n));
    loop.RunOnce(10);
  }
  CHECK(got.ends_with("end"));
}

TEST_CASE("exit records come back from disk as they were written") {
  TempDir dir;
  ExitRecord killed = ExitRecord::FromWait(SIGKILL);
  CHECK(killed.exit_code == 137);
  killed.oom_killed = true;
  REQUIRE(lc::shim::WriteExit(dir.path, killed).ok());
  auto number = lc::ReadFile(dir.path + "/exitStatus");
  REQUIRE(number.ok());
  CHECK(*number == "137");
  auto back = lc::shim::ReadExit(dir.path);
  REQUIRE((back.ok() && back->has_value()));
  CHECK((*back)->signal == SIGKILL);
  CHECK((*back)->oom_killed);
  CHECK((*back)->exited_at_ms == killed.exited_at_ms);
  CHECK(ExitRecord::FromWait(3 << 8).exit_code == 3);
  CHECK_FALSE(ExitRecord::Unknown().known);

  REQUIRE(lc::WriteWholeAt(AT_FDCWD, dir.path + "/exitStatus", "rubbish").ok());
  CHECK_FALSE((*lc::shim::ReadExit(dir.path))->known);
  CHECK_FALSE(lc::shim::ReadExit(dir.path + "/none")->has_value());
}

TEST_CASE("stdio requests") {
  auto parse = [](const char* text, size_t count) {
    lc::JsonDocument json;
    REQUIRE(lc::ParseJson(text, &json));
    std::vector<UniqueFd> fds;
    for (size_t i = 0; i < count; ++i) fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
    return lc::shim::ParseStdio(&json, &fds);
  };
  CHECK(parse(R"([{"kind":"fd"},{"kind":"null"},{"kind":"path","path":"/x"}])", 1).ok());
  CHECK_FALSE(parse(R"([{"kind":"fd"},{"kind":"fd"},{"kind":"null"}])", 1).ok());      // too few
  CHECK_FALSE(parse(R"([{"kind":"null"},{"kind":"null"},{"kind":"null"}])", 1).ok());  // too many
  CHECK_FALSE(parse(R"([{"kind":"null"},{"kind":"null"}])", 0).ok());
  CHECK_FALSE(parse(R"([{"kind":"path","path":"x"},{"kind":"null"},{"kind":"null"}])", 0).ok());
  CHECK_FALSE(parse(R"([1,2,3])", 0).ok());
  CHECK_FALSE(parse(R"({})", 0).ok());
}

TEST_CASE("a FIFO of output waits for its reader") {
  TempDir dir;
  std::string fifo = dir.path + "/fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  EventLoop loop;
  REQUIRE(loop.Open().ok());
  std::vector<lc::shim::StdioSpec> specs(3);
  specs[1].kind = lc::shim::StdioSpec::Kind::kPath;
  specs[1].path = fifo;
  UniqueFd null_device(open("/dev/null", O_RDWR | O_CLOEXEC));
  REQUIRE(static_cast<bool>(null_device));
  lc::shim::ProcessStdio stdio(loop, null_device.get(), std::move(specs));
  auto opened = stdio.Open(false, ".");
  REQUIRE(opened.ok());
  CHECK_FALSE(*opened);
  CHECK(stdio.waiting_for() == fifo);
  UniqueFd reader(open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  opened = stdio.Open(false, ".");
  REQUIRE(opened.ok());
  CHECK(*opened);
  reader.Reset();
  CHECK(write(stdio.child(1), "x", 1) == 1);  // held open for the next reader
}

namespace {

lc::shim::RuntimeCommand CommandIn(const TempDir& dir) {
  static int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  lc::shim::RuntimeCommand command;
  command.runtime = "/bin/sh";
  command.name = "create";
  command.log_path = dir.path + "/log";
  command.record = dir.path + "/run";
  command.null_device = null_device;
  return command;
}

}  // namespace

TEST_CASE("a run of the runtime is recorded before it executes, has the umask and a session of its own") {
  TempDir dir;
  lc::nsexec::Bounding bounding;
  lc::shim::RuntimeCommand command = CommandIn(dir);
  command.umask = 027;
  command.runtime = "sh";
  command.args = {"-c", "cat " + dir.path + "/run; umask; : > " + dir.path + "/made; ps -o sid= -p $$"};
  auto run = lc::shim::RuntimeRun::Start(command, &bounding);
  REQUIRE(run.ok());
  auto stat = lc::ReadProcStat(run->pid);
  REQUIRE(stat.ok());
  int status = 0;
  waitpid(run->pid, &status, 0);
  std::string said = run->Log();
  std::string record = std::to_string(run->pid) + " " + std::to_string(stat->start);
  CHECK(said.starts_with(record + "0027\n"));
  CHECK(said.substr(said.find('\n')).find(std::to_string(run->pid)) != std::string::npos);
  struct stat made {};
  REQUIRE(::stat((dir.path + "/made").c_str(), &made) == 0);
  CHECK((made.st_mode & 07777) == 0640);
  REQUIRE(::stat(command.log_path.c_str(), &made) == 0);
  CHECK((made.st_mode & 07777) == 0600);
}

TEST_CASE("a runtime that cannot be recorded is not executed, but for its delete") {
  TempDir dir;
  lc::nsexec::Bounding bounding;
  for (const char* name : {"create", "start", "delete"}) {
    lc::shim::RuntimeCommand command = CommandIn(dir);
    command.name = name;
    command.record = "/proc/none";
    command.args = {"-c", ": > " + dir.path + "/" + name};
    auto run = lc::shim::RuntimeRun::Start(command, &bounding);
    CHECK(run.ok() == (command.name == "delete"));
    while (waitpid(-1, nullptr, 0) > 0) {
    }
    CHECK((access((dir.path + "/" + name).c_str(), F_OK) == 0) == (command.name == "delete"));
  }
}

TEST_CASE("the null device of a shim is one, and nobody else's") {
  TempDir dir;
  auto own = lc::shim::OwnNull();
  REQUIRE(own.ok());
  CHECK(lc::shim::IsNull(own->get()));
  struct stat ours {};
  struct stat host {};
  REQUIRE(fstat(own->get(), &ours) == 0);
  REQUIRE(stat("/dev/null", &host) == 0);
  CHECK((ours.st_mode & 07777) == 0666);
  CHECK((ours.st_dev != host.st_dev || ours.st_ino != host.st_ino));
  CHECK(write(own->get(), "x", 1) == 1);
  char byte = 0;
  CHECK(read(own->get(), &byte, 1) == 0);
  // A program may open its stream again.
  UniqueFd again(open(("/proc/self/fd/" + std::to_string(own->get())).c_str(), O_WRONLY | O_CLOEXEC));
  CHECK(static_cast<bool>(again));
  CHECK_FALSE(lc::shim::IsNull(open("/dev/zero", O_RDONLY | O_CLOEXEC)));
}

TEST_CASE("a runtime's failure is told by its log's last error, or by what it printed") {
  TempDir dir;
  lc::nsexec::Bounding bounding;
  lc::shim::RuntimeCommand command = CommandIn(dir);
  command.args = {"-c", "echo panic: oops >&2; exit 3"};
  auto run = lc::shim::RuntimeRun::Start(command, &bounding);
  REQUIRE(run.ok());
  int status = 0;
  waitpid(run->pid, &status, 0);
  auto error = run->FailureOf(status, run->Log());
  CHECK(std::string(error.code) == "ERR_RUNTIME");
  CHECK(error.text == "the runtime's create exited with 3: panic: oops");
  REQUIRE(lc::WriteWholeAt(
              AT_FDCWD, dir.path + "/log",
              "{\"level\":\"error\",\"msg\":\"first\"}\nrubbish\n{\"level\":\"warning\",\"msg\":\"w\"}\n"
              "{\"level\":\"error\",\"msg\":\"last\"}\n")
              .ok());
  CHECK(run->FailureOf(status, run->Log()).text == "the runtime's create exited with 3: last");
  command.runtime = "/does/not/exist";
  auto missing = lc::shim::RuntimeRun::Start(command, &bounding);
  REQUIRE_FALSE(missing.ok());
  CHECK(std::string(missing.error().code) == "ERR_RUNTIME");
  CHECK(missing.error().err == ENOENT);
  CHECK(missing.error().path == "/does/not/exist");
}
