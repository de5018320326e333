// For the cgroup tests: directories of plain files that look like a cgroup, and real cgroups with a process
// in them.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cgroup/layout.h"
#include "core/cgroup_paths.h"
#include "core/files.h"

namespace lc_test {

// A temporary directory that goes with the object.
class Tree {
 public:
  Tree() {
    char name[] = "/tmp/lc-test-tree-XXXXXX";
    path = mkdtemp(name);
  }
  ~Tree() { (void)lc::RemoveTreeAt(AT_FDCWD, path); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  std::string Dir(const std::string& name) const {
    std::string full = path;
    for (size_t at = 0; at <= name.size();) {
      size_t end = std::min(name.find('/', at), name.size());
      full += "/" + name.substr(at, end - at);
      mkdir(full.c_str(), 0755);
      at = end + 1;
    }
    return full;
  }
  void File(const std::string& name, const std::string& text) const {
    size_t slash = name.rfind('/');
    if (slash != std::string::npos) Dir(name.substr(0, slash));
    int fd = open((path + "/" + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    (void)lc::WriteAll(fd, text, name);
    close(fd);
  }
  std::string Text(const std::string& name) const {
    auto text = lc::ReadFile(path + "/" + name);
    return text ? *text : "?";
  }

  std::string path;
};

// A file below native/test/fixtures/cgroup, which lies beside this one.
inline std::string Fixture(const std::string& name) {
  std::string here = __FILE__;
  size_t slash = here.rfind('/');
  return (slash == std::string::npos ? "." : here.substr(0, slash)) + "/fixtures/cgroup/" + name;
}

// Keeps a processor busy: for so many rounds, or for ever.
inline void Spin(uint64_t rounds = UINT64_MAX) {
  for (uint64_t i = 0; i < rounds; ++i) asm volatile("" : : : "memory");
}

inline std::string ReadOrEmpty(const std::string& path) {
  auto text = lc::ReadFile(path);
  return text ? std::string(lc::TrimEnd(*text)) : std::string();
}

inline bool Put(const std::string& path, const std::string& text) {
  return lc::WriteOnceAt(AT_FDCWD, path, text).ok();
}

// Waits until `look` says true, half a minute at the most: an emulated machine on a busy host is slow.
template <typename Look>
bool Eventually(Look look) {
  for (int i = 0; i < 3000; ++i) {
    if (look()) return true;
    usleep(10'000);
  }
  return false;
}

// True: the test has nothing to do on this machine. Where CI is set that fails the test.
inline bool CannotRun(bool unable, const char* why) {
  if (unable && getenv("CI") != nullptr) FAIL(why);
  return unable;
}

// For doctest::skip(), of a test that needs this v1 controller, with this file where one is named. Such a
// test is skipped visibly here and runs on a machine of another layout (make vm-test).
inline bool LacksV1(const char* controller, const std::string& file = "") {
  auto layout = lc::ReadLayout();
  const lc::CgroupMount* mount = layout ? layout->FindV1(controller) : nullptr;
  return mount == nullptr || access((mount->mount_point + "/" + file).c_str(), F_OK) != 0;
}
inline bool LacksV2() {
  auto layout = lc::ReadLayout();
  return !layout || layout->FindV2() == nullptr;
}
inline bool IsNotV2Only() {
  auto layout = lc::ReadLayout();
  return !layout || layout->mode() != lc::CgroupMode::kV2;
}

// Cgroups of our own in every hierarchy of the machine, at the root of each mount; removed with what lives in
// them.
class RealCgroup {
 public:
  explicit RealCgroup(const std::string& name) {
    auto layout = lc::ReadLayout();
    if (!layout || geteuid() != 0) return;
    mode = layout->mode();
    paths = lc::ComposePaths(*layout, "/lc-test-cgroup-" + name + "-" + std::to_string(getpid()));
    for (const std::string& directory : Directories()) {
      if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return;
      // A v1 cpuset takes no process before it has both.
      std::string parent = directory.substr(0, directory.rfind('/'));
      for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
        std::string text = ReadOrEmpty(parent + file);
        if (!text.empty() && ReadOrEmpty(directory + file).empty()) Put(directory + file, text);
      }
    }
    usable_ = !Directories().empty();
  }
  ~RealCgroup() {
    KillAll();
    for (const std::string& directory : Directories()) RemoveBelow(directory);
  }
  RealCgroup(const RealCgroup&) = delete;
  RealCgroup& operator=(const RealCgroup&) = delete;

  // False if this machine lets nobody make cgroups, or this program is not root: the test has nothing to do.
  // Fails the test where CI is set.
  bool usable() const {
    return !CannotRun(!usable_, "no cgroup can be made here: not root, or none is mounted");
  }
  std::set<std::string> Directories() const {
    std::set<std::string> out;
    for (const auto& controller : paths.v1) out.insert(controller.path);
    if (!paths.unified.empty()) out.insert(paths.unified);
    return out;
  }
  // A child that has joined every cgroup and then runs `body`, which must not return.
  template <typename F>
  pid_t Spawn(F body, const std::string& below = "") {
    int ready[2];
    if (pipe(ready) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
      close(ready[0]);
      for (const std::string& directory : Directories()) {
        std::string target = directory + below;
        if (access(target.c_str(), F_OK) != 0) target = directory;
        if (!Put(target + "/cgroup.procs", "0")) _exit(99);
      }
      if (write(ready[1], "x", 1) != 1) _exit(98);
      close(ready[1]);
      body();
      _exit(0);
    }
    close(ready[1]);
    char byte = 0;
    bool joined = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    children_.push_back(pid);
    return joined ? pid : -1;
  }
  pid_t SpawnSleeper(const std::string& below = "") {
    return Spawn(
        [] {
          for (;;) pause();
        },
        below);
  }
  void KillAll() {
    for (pid_t pid : children_) {
      for (const std::string& directory : Directories()) {
        if (access((directory + "/freezer.state").c_str(), F_OK) == 0)
          Put(directory + "/freezer.state", "THAWED");
        if (access((directory + "/cgroup.freeze").c_str(), F_OK) == 0) Put(directory + "/cgroup.freeze", "0");
      }
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    children_.clear();
  }
  static void RemoveBelow(const std::string& directory) {
    for (int attempt = 0; attempt < 100; ++attempt) {
      // Only directories can go; the control files go with theirs.
      if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return;
      std::string list = directory;
      std::vector<std::string> children;
      if (FILE* pipe =
              popen(("find '" + directory + "' -mindepth 1 -depth -type d 2>/dev/null").c_str(), "r")) {
        char line[4096];
        while (fgets(line, sizeof line, pipe) != nullptr) children.emplace_back(line, strlen(line) - 1);
        pclose(pipe);
      }
      for (const std::string& child : children) rmdir(child.c_str());
      usleep(10000);
    }
  }
  void RemoveNow() {
    KillAll();
    for (const std::string& directory : Directories()) RemoveBelow(directory);
  }

  lc::CgroupPaths paths;
  lc::CgroupMode mode = lc::CgroupMode::kNone;

 private:
  bool usable_ = false;
  std::vector<pid_t> children_;
};

}  // namespace lc_test
