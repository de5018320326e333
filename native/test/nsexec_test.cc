// Starting a process without any namespace to join: the parts that need no container. The rest is in
// test/integration.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/process_identity.h"
#include "nsexec/parent.h"
#include "nsexec/terminal.h"

using lc::nsexec::Outcome;

namespace {

lc::nsexec::Plan PlanOf(std::vector<std::string> args, int out) {
  lc::nsexec::Plan plan;
  plan.args = std::move(args);
  plan.env = {"PATH=/usr/bin:/bin", "A=1", "A=2"};
  plan.cwd = "/";
  static int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  plan.stdio[0] = null_device;
  plan.stdio[1] = out >= 0 ? out : null_device;
  plan.stdio[2] = null_device;
  plan.uid = getuid();
  plan.gid = getgid();
  plan.bounding = UINT64_MAX;  // this process is to keep its own
  return plan;
}

int StatusOf(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

Outcome Await(int report, const lc::nsexec::Plan& plan) {
  for (;;) {
    pollfd wait{report, POLLIN, 0};
    poll(&wait, 1, 5000);
    Outcome outcome = lc::nsexec::ReadOutcome(report, plan);
    if (outcome.kind != Outcome::Kind::kAgain) return outcome;
  }
}

// A process that waits for its release, or no pid and the joiner's report of why there is none.
struct Waiting {
  pid_t pid = 0;
  lc::UniqueFd report;
  lc::UniqueFd go;
};

lc::Result<Waiting> StartBy(const lc::nsexec::Plan& plan, lc::nsexec::Launcher* launcher) {
  auto started = launcher->Start(plan);
  if (!started) return started.error();
  StatusOf(started->joiner);
  return Waiting{started->member.pid(), std::move(started->report), std::move(started->go)};
}

auto StartIt(const lc::nsexec::Plan& plan) {
  static lc::nsexec::Bounding bounding;
  static lc::nsexec::Launcher launcher(bounding);
  return StartBy(plan, &launcher);
}

// A process in a time namespace of its own, which ends with the test. Neither runc 1.1 nor crun 1.8 makes one
// that this kernel takes, so the container is made by hand.
struct TimeNamespace {
  TimeNamespace() {
    int ready[2];
    REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
    maker = fork();
    if (maker == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      bool made = unshare(CLONE_NEWTIME) == 0;
      pid_t child = made ? fork() : -1;  // it takes effect for children
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
      }
      (void)!write(ready[1], &child, sizeof(child));
      pause();
      _exit(0);
    }
    REQUIRE(read(ready[0], &pid, sizeof(pid)) == sizeof(pid));
    close(ready[0]);
    close(ready[1]);
  }
  ~TimeNamespace() {
    kill(maker, SIGKILL);
    waitpid(maker, nullptr, 0);
  }
  pid_t maker = 0;
  pid_t pid = 0;
};

std::string LinkOf(const std::string& path) {
  char text[64] = {};
  CHECK(readlink(path.c_str(), text, sizeof(text) - 1) > 0);
  return text;
}

std::string OutputOf(lc::nsexec::Plan* plan) {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  plan->stdio[1] = ends[1];
  auto started = StartIt(*plan);
  REQUIRE(started.ok());
  REQUIRE(lc::nsexec::Release(started->go.get()).ok());
  auto outcome = Await(started->report.get(), *plan);
  CAPTURE(outcome.error.call);
  CHECK(outcome.kind == Outcome::Kind::kRunning);
  StatusOf(started->pid);
  close(ends[1]);
  char text[256] = {};
  (void)!read(ends[0], text, sizeof(text) - 1);
  close(ends[0]);
  return text;
}

}  // namespace

TEST_CASE("a time namespace is joined, by pidfd and one by one" *
          doctest::skip(geteuid() != 0 && getenv("CI") == nullptr)) {
  TimeNamespace other;
  REQUIRE(other.pid > 0);
  std::string theirs = LinkOf("/proc/" + std::to_string(other.pid) + "/ns/time");
  REQUIRE(theirs != LinkOf("/proc/self/ns/time"));
  auto stat = lc::ReadProcStat(other.pid);
  REQUIRE(stat.ok());
  auto pidfd = lc::OpenPidfd(other.pid, stat->start);
  REQUIRE(pidfd.ok());
  for (int by : {pidfd->get(), -1}) {
    auto plan = PlanOf({"readlink", "/proc/self/ns/time", "/proc/self/ns/time_for_children"}, -1);
    plan.namespaces = CLONE_NEWTIME;
    plan.init_pid = other.pid;
    plan.init_start = stat->start;
    plan.init_pidfd = by;
    CHECK(OutputOf(&plan) == theirs + "\n" + theirs + "\n");
  }
}

TEST_CASE("children have the bounding set that they are to have, whichever task makes them" *
          doctest::skip(geteuid() != 0 && getenv("CI") == nullptr)) {
  constexpr uint64_t kKill = 1U << 5U;
  constexpr uint64_t kFew = kKill | 1U << 10U;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  pid_t narrowed = fork();  // it does not get back what it gives up
  if (narrowed == 0) {
    lc::nsexec::Bounding bounding;
    lc::nsexec::Launcher launcher(bounding);
    const uint64_t whole = bounding.HeldFor(0);
    for (uint64_t wanted : {kFew, kFew, kKill, whole, kFew, whole}) {
      auto plan = PlanOf({"grep", "CapBnd", "/proc/self/status"}, ends[1]);
      plan.bounding = wanted;
      auto started = StartBy(plan, &launcher);
      if (!started || !lc::nsexec::Release(started->go.get())) _exit(1);
      if (Await(started->report.get(), plan).kind != Outcome::Kind::kRunning) _exit(2);
      if (StatusOf(started->pid) != 0) _exit(3);
    }
    // What it is now, and what its second task still is.
    _exit(bounding.HeldFor(kFew) == kFew && bounding.HeldFor(whole) == whole && whole != kFew ? 0 : 4);
  }
  CHECK(StatusOf(narrowed) == 0);
  close(ends[1]);
  std::string text(4096, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, read(ends[0], text.data(), text.size()))));
  close(ends[0]);
  const uint64_t whole = lc::nsexec::Bounding().HeldFor(0);
  std::string expected;
  for (uint64_t wanted : {kFew, kFew, kKill, whole, kFew, whole}) {
    char line[64];
    snprintf(line, sizeof(line), "CapBnd:\t%016" PRIx64 "\n", wanted);
    expected += line;
  }
  CHECK(text == expected);
}

TEST_CASE("a pid that is another process by now is not followed into its namespaces") {
  auto plan = PlanOf({"true"}, -1);
  plan.namespaces = CLONE_NEWUTS;
  plan.init_pid = getpid();
  plan.init_start = 1;
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  CHECK(started->pid == 0);
  auto outcome = Await(started->report.get(), plan);
  CHECK(outcome.kind == Outcome::Kind::kFailed);
  CHECK(outcome.error.err == ESRCH);
}

TEST_CASE("a program found by PATH runs with its environment, and its end is its own") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  auto plan = PlanOf({"sh", "-c", "echo $A $HOME; exit 7"}, ends[1]);
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  REQUIRE(lc::nsexec::Release(started->go.get()).ok());
  CHECK(Await(started->report.get(), plan).kind == Outcome::Kind::kRunning);
  CHECK(WEXITSTATUS(StatusOf(started->pid)) == 7);
  close(ends[1]);
  char text[64] = {};
  CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
  close(ends[0]);
  CHECK(std::string(text).starts_with("2 /"));
}

TEST_CASE("what cannot be executed is reported with errno and path") {
  struct Bad {
    std::vector<std::string> args;
    int err;
  };
  for (const Bad& bad : {Bad{{"/does/not/exist"}, ENOENT}, Bad{{"does-not-exist"}, ENOENT},
                         Bad{{"/etc/passwd"}, EACCES}, Bad{{"/"}, EACCES}}) {
    auto plan = PlanOf(bad.args, -1);
    auto started = StartIt(plan);
    REQUIRE(started.ok());
    REQUIRE(lc::nsexec::Release(started->go.get()).ok());
    auto outcome = Await(started->report.get(), plan);
    REQUIRE(outcome.kind == Outcome::Kind::kFailed);
    CHECK(outcome.error.err == bad.err);
    CHECK(outcome.error.call == "execve");
    CHECK(outcome.error.path == bad.args[0]);
    CHECK(WEXITSTATUS(StatusOf(started->pid)) == 127);
  }
  auto plan = PlanOf({"/bin/true"}, -1);
  plan.cwd = "/does/not/exist";
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  // It may have failed already, and be gone.
  (void)lc::nsexec::Release(started->go.get());
  auto outcome = Await(started->report.get(), plan);
  REQUIRE(outcome.kind == Outcome::Kind::kFailed);
  CHECK(outcome.error.path == "/does/not/exist");
  StatusOf(started->pid);
}

TEST_CASE("without a release the program never runs") {
  auto plan = PlanOf({"/bin/sh", "-c", "exit 7"}, -1);
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  started->go.Reset();
  CHECK(WEXITSTATUS(StatusOf(started->pid)) == 127);
}

TEST_CASE("no descriptor but the standard ones reaches the program") {
  int leak = open("/dev/null", O_RDONLY);  // not close-on-exec, as a careless host program's would be
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  auto plan = PlanOf({"/bin/sh", "-c", "cd /proc/self/fd && echo *"}, ends[1]);
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  REQUIRE(lc::nsexec::Release(started->go.get()).ok());
  CHECK(Await(started->report.get(), plan).kind == Outcome::Kind::kRunning);
  StatusOf(started->pid);
  close(leak);
  close(ends[1]);
  char text[256] = {};
  CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
  close(ends[0]);
  // 3 is the directory that the shell's glob has open.
  CHECK((std::string(text) == "0 1 2 3\n" || std::string(text) == "0 1 2\n"));
}

TEST_CASE("what a stranger writes into the report pipe is a protocol error and nothing else") {
  auto plan = PlanOf({"/bin/true"}, -1);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  auto received = [&](const lc::nsexec::ChildReport& report, size_t size) {
    REQUIRE(write(ends[1], &report, size) == static_cast<ssize_t>(size));
    return lc::nsexec::ReadOutcome(ends[0], plan);
  };
  lc::nsexec::ChildReport report;
  CHECK(received(report, sizeof(report)).error.err == EPROTO);
  memset(report.call, 'x', sizeof(report.call));
  CHECK(received(report, sizeof(report)).error.err == EPROTO);
  strncpy(report.call, "exec\n\x1b[31m", sizeof(report.call));
  CHECK(received(report, sizeof(report)).error.err == EPROTO);
  strncpy(report.call, "execve", sizeof(report.call));
  CHECK(received(report, 7).error.err == EPROTO);
  report.err = EPERM;
  report.on_path = 77;
  auto outcome = received(report, sizeof(report));
  CHECK(outcome.error.err == EPERM);
  CHECK(outcome.error.path.empty());
  CHECK(lc::nsexec::ReadOutcome(ends[0], plan).kind == Outcome::Kind::kAgain);
  for (int fd : ends) close(fd);
}

TEST_CASE("a go pipe that somebody else has filled does not hold up the release") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  std::string page(4096, 'x');
  while (write(ends[1], page.data(), page.size()) > 0) {
  }
  CHECK(lc::nsexec::Release(ends[1]).ok());
  close(ends[0]);
  CHECK(lc::nsexec::Release(ends[1]).error().err == EPIPE);
  close(ends[1]);
}

TEST_CASE("only what is a terminal's master is taken for one") {
  auto taken = [](std::vector<int> fds) {
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    char text = 0;
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
    iovec data{&text, sizeof(text)};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    REQUIRE(sendmsg(pair[1], &message, 0) == 1);
    auto terminal = lc::nsexec::TakeTerminal(pair[0]);
    close(pair[0]);
    close(pair[1]);
    return terminal;
  };
  const int null_device = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(taken({}).error().err == EMFILE);
  CHECK(taken({null_device}).error().err == ENODEV);
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(master >= 0);
  CHECK(taken({master}).ok());
  const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(next == master + 1);
  for (int fd : {null_device, master, next}) close(fd);
}

TEST_CASE("a slot holds no pid until the kernel writes one, and is used again") {
  lc::nsexec::PidSlots slots;
  std::vector<lc::nsexec::PidSlot> taken;
  for (size_t i = 0; i < lc::nsexec::PidSlots::kBytes / 8; ++i) {
    auto slot = slots.Take();
    REQUIRE(slot.ok());
    taken.push_back(std::move(*slot));
  }
  CHECK(slots.Take().error().err == EAGAIN);
  pid_t* place = taken[7].address();
  *place = 4711;
  CHECK(taken[7].pid() == 4711);
  taken[7] = {};
  auto again = slots.Take();
  REQUIRE(again.ok());
  CHECK(again->address() == place);
  CHECK(again->pid() == 0);
}

TEST_CASE("the environment has each name once, with its last value, however many there are") {
  auto plan = PlanOf({"/bin/sh", "-c", "env | sort | uniq -d | wc -l; env | grep -c ^N; echo $N7"}, -1);
  plan.env = {"PATH=/usr/bin:/bin"};
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 20'000; ++i)
      plan.env.push_back("N" + std::to_string(i) + "=" + std::to_string(round));
  }
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  plan.stdio[1] = ends[1];
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  REQUIRE(lc::nsexec::Release(started->go.get()).ok());
  CHECK(Await(started->report.get(), plan).kind == Outcome::Kind::kRunning);
  StatusOf(started->pid);
  close(ends[1]);
  char text[64] = {};
  CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
  close(ends[0]);
  CHECK(std::string(text) == "0\n20000\n1\n");
}

TEST_CASE("a name that no file can have is looked for in no entry of PATH") {
  auto plan = PlanOf({std::string(100'000, 'x')}, -1);
  std::string path = "PATH=";
  for (int i = 0; i < 50'000; ++i) path += "/a:";
  plan.env = {path};
  auto started = StartIt(plan);
  REQUIRE(started.ok());
  REQUIRE(lc::nsexec::Release(started->go.get()).ok());
  auto outcome = Await(started->report.get(), plan);
  CHECK(outcome.kind == Outcome::Kind::kFailed);
  CHECK(outcome.error.err == ENOENT);
  StatusOf(started->pid);
}
