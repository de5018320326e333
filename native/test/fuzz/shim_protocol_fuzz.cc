// A whole shim, event loop and all, against clients that send whatever comes: requests, half requests,
// descriptors. It answers in whole frames, ends on no signal, and keeps no descriptor of what is over.
//
// Requests start processes and open paths, so all of it runs where neither does harm: every mount is
// read-only but the fuzzer's own directory and a tmpfs, and the container's root directory has no program in
// it. As root.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/frame_socket.h"
#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/event_loop.h"
#include "shim/null_device.h"
#include "shim/server.h"
#include "shim/stdio.h"

namespace {

constexpr const char* kWork = "/mnt/shim-fuzz";
constexpr const char* kState = "/mnt/shim-fuzz/state/box";
constexpr const char* kRecord = "/mnt/shim-fuzz/run/box";

void Must(bool good, const char* what) {
  if (good) return;
  perror(what);
  abort();
}

void WriteFile(const std::string& path, const std::string& text) {
  lc::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  Must(fd && lc::WriteAll(fd.get(), text, path).ok(), path.c_str());
}

// struct mount_attr of mount_setattr(2), Linux 5.12.
struct MountAttributes {
  uint64_t set = 0;
  uint64_t clear = 0;
  uint64_t propagation = 0;
  uint64_t user_namespace = 0;
};

void SetMount(const char* path, bool recursive, uint64_t set, uint64_t clear) {
  constexpr long kMountSetattr = 442;
  constexpr unsigned kRecursive = 0x8000;
  MountAttributes attributes{set, clear, 0, 0};
  Must(syscall(kMountSetattr, AT_FDCWD, path, recursive ? kRecursive : 0, &attributes, sizeof(attributes)) ==
           0,
       "mount_setattr");
}

// Nothing of the machine can be written to from here.
void Jail() {
  constexpr uint64_t kReadOnly = 1;
  Must(geteuid() == 0, "as root");
  Must(unshare(CLONE_NEWNS) == 0, "unshare");
  Must(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount /");
  char* own = getcwd(nullptr, 0);
  Must(own != nullptr && mount(own, own, nullptr, MS_BIND, nullptr) == 0, "mount .");
  SetMount("/", true, kReadOnly, 0);
  SetMount(own, false, 0, kReadOnly);
  Must(chdir(own) == 0, "chdir");
  free(own);
  Must(mount("none", "/mnt", "tmpfs", 0, nullptr) == 0, "mount /mnt");
  for (const char* path : {"/mnt/shim-fuzz", "/mnt/shim-fuzz/state", "/mnt/shim-fuzz/run", kRecord})
    Must(mkdir(path, 0700) == 0, path);
}

// The container: a process in a root directory with terminals and nothing else.
pid_t StartInit() {
  pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Must(unshare(CLONE_NEWNS) == 0, "unshare");
  std::string root = std::string(kWork) + "/root";
  mkdir(root.c_str(), 0700);
  Must(mount("none", root.c_str(), "tmpfs", 0, nullptr) == 0 && chdir(root.c_str()) == 0, "mount root");
  Must(mkdir("dev", 0755) == 0 && mkdir("dev/pts", 0755) == 0 && mkdir("old", 0700) == 0, "mkdir");
  Must(mount("none", "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666") == 0, "mount devpts");
  Must(symlink("pts/ptmx", "dev/ptmx") == 0, "symlink");
  Must(syscall(SYS_pivot_root, ".", "old") == 0 && umount2("/old", MNT_DETACH) == 0 && rmdir("/old") == 0,
       "pivot");
  for (;;) pause();
}

struct Init {
  pid_t pid = 0;
  uint64_t start = 0;
};

Init RunningInit() {
  static Init init;
  if (init.pid != 0 && lc::IsAlive(init.pid, init.start)) return init;
  init.pid = StartInit();
  Must(init.pid > 0, "fork");
  auto stat = lc::ReadProcStat(init.pid);
  Must(stat.ok(), "stat");
  init.start = stat->start;
  WriteFile(std::string(kRecord) + "/state.json",
            R"({"init_process_pid":)" + std::to_string(init.pid) + R"(,"init_process_start":)" +
                std::to_string(init.start) + R"(,"config":{"namespaces":[{"type":"NEWNS"}]}})");
  return init;
}

size_t CountDescriptors() {
  size_t count = 0;
  DIR* scan = opendir("/proc/self/fd");
  Must(scan != nullptr, "opendir");
  while (readdir(scan) != nullptr) ++count;
  closedir(scan);
  return count;
}

std::set<pid_t> Children() {
  std::set<pid_t> out;
  auto text = lc::ReadFile("/proc/self/task/" + std::to_string(getpid()) + "/children", 65536);
  const char* at = text.ok() ? text->c_str() : "";
  for (char* end = nullptr;; at = end) {
    auto pid = static_cast<pid_t>(strtol(at, &end, 10));
    if (end == at) return out;
    out.insert(pid);
  }
}

// Execs that were under way, and what else the shim has started; libFuzzer has a child of its own at times.
void EndChildren(const std::set<pid_t>& but) {
  for (pid_t pid : Children()) {
    if (but.contains(pid)) continue;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
}

// One shim's life, from its state directory to its end.
class Shim {
 public:
  Shim(bool started, bool obliging) {
    Init init = RunningInit();
    (void)lc::RemoveTreeAt(AT_FDCWD, kState);
    Must(mkdir(kState, 0700) == 0 && chdir(kState) == 0, "state");
    if (started) {
      Must(mkdir("init", 0700) == 0, "init");
      WriteFile("init/pid", std::to_string(init.pid));
      WriteFile("init/starttime", std::to_string(init.start));
    }
    lc::shim::Settings settings;
    settings.directory = kState;
    settings.id = "box";
    settings.runtime = obliging ? "/bin/true" : "/bin/false";
    settings.runtime_args = {"--root=/mnt/shim-fuzz/run"};
    Must(loop_.Open().ok(), "epoll");
    auto null_device = lc::shim::OwnNull();
    Must(null_device.ok(), "/dev/null");
    container_ =
        std::make_unique<lc::shim::Container>(loop_, server_, std::move(settings), std::move(*null_device));
    server_.Serve(container_.get());
    container_->TakeOver([] {}, [](const lc::Error&) {});
  }

  void Send(int client, const std::string& bytes, size_t descriptors) {
    lc::FrameSocket& peer = Peer(client);
    static const int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
    std::vector<int> fds(descriptors, null_device);
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {};
    iovec data{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (descriptors > 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
      memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * descriptors);
    }
    (void)sendmsg(peer.fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // Whatever the shim says is whole frames.
  void Turn(int milliseconds) {
    if (container_->finished()) return;
    loop_.RunOnce(milliseconds);
    container_->OnChildSignal();
    for (auto& [id, peer] : peers_) {
      std::vector<lc::Frame> said;
      if (peer->Read(&said) == lc::FrameSocket::State::kGarbled) abort();
      for (const lc::Frame& frame : said) {
        if (frame.payload.empty() || frame.payload[0] != '{' || !frame.fds.empty()) abort();
      }
    }
  }

 private:
  lc::FrameSocket& Peer(int id) {
    auto& peer = peers_[id];
    if (peer == nullptr) {
      int ends[2];
      Must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0, "socketpair");
      peer = std::make_unique<lc::FrameSocket>(lc::UniqueFd(ends[0]));
      server_.AddClient(lc::UniqueFd(ends[1]));
    }
    return *peer;
  }

  lc::shim::EventLoop loop_;
  lc::shim::Server server_{loop_};
  std::unique_ptr<lc::shim::Container> container_;
  std::map<int, std::unique_ptr<lc::FrameSocket>> peers_;
};

// The input: a byte that says how the shim stands, then pieces of a control byte, a length of two and the
// bytes.
//   control: descriptors 0 to 15; 16: of another client; 32: a header that fits is put before them;
//   64: time passes afterwards
void Play(const uint8_t* data, size_t size) {
  Shim shim((data[0] & 1) != 0, (data[0] & 2) != 0);
  for (size_t at = 1; at + 3 <= size;) {
    uint8_t control = data[at];
    size_t length = data[at + 1] | data[at + 2] << 8;
    at += 3;
    if (length > size - at) length = size - at;
    std::string bytes(reinterpret_cast<const char*>(data + at), length);
    at += length;
    size_t descriptors = control & 15;
    if ((control & 32) != 0) {
      uint32_t header[2] = {static_cast<uint32_t>(length), static_cast<uint32_t>(descriptors)};
      bytes.insert(0, reinterpret_cast<const char*>(header), sizeof(header));
    }
    if (!bytes.empty()) shim.Send((control & 16) != 0 ? 1 : 0, bytes, descriptors);
    shim.Turn(0);
    for (int turn = 0; (control & 64) != 0 && turn < 10; ++turn) shim.Turn(2);
  }
  for (int turn = 0; turn < 3; ++turn) shim.Turn(1);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  signal(SIGPIPE, SIG_IGN);  // a shim blocks all signals: a broken pipe is an errno
  Jail();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static int own = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  static bool warm = false;
  if (!warm) {
    warm = true;
    const uint8_t nothing[] = {3, 64 | 32, 0, 0};
    Play(nothing, sizeof(nothing));  // opens what stays open
  }
  (void)RunningInit();
  std::set<pid_t> children = Children();
  size_t before = CountDescriptors();
  Play(data, size);
  Must(fchdir(own) == 0, "fchdir");
  EndChildren(children);
  if (CountDescriptors() != before) abort();
  return 0;
}
