// Everything a process needs to start inside a container.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oci/process.h"

namespace lc::nsexec {

// The number of the first descriptor after standard input, output and error.
inline constexpr int kFirstExtra = 3;
// A message of the protocol of the shim carries as many (FrameSocket::kMaxFds), standard streams included.
inline constexpr size_t kMaxExtra = 61;

// What is plain values of a plan: the child gets them as they are.
struct PlanValues {
  bool terminal = false;
  uint16_t rows = 0;
  uint16_t columns = 0;
  int stdio[3] = {-1, -1, -1};  // ignored with `terminal`

  // Where: namespaces of the container's init by its pidfd, or one by one where the kernel lacks that
  // (setns with a pidfd: Linux 5.8). `namespaces` holds CLONE_NEW* bits, CLONE_NEWPID among them.
  int init_pidfd = -1;
  pid_t init_pid = 0;
  uint64_t init_start = 0;
  int namespaces = 0;
  int root_fd = -1;     // of a container without a mount namespace: its root directory; else -1
  int rdt_tasks = -1;   // tasks file of an Intel RDT class, or -1
  int cgroup_fd = -1;   // v2: directory for CLONE_INTO_CGROUP (Linux 5.7); else -1
  int pids_index = -1;  // which of cgroup_procs belongs to the hierarchy that counts processes; -1: none does
  // The process joins that one last, by its parent's hand: the kernel lets a process be moved into a cgroup
  // that may not fork any more (cgroup v1 pids.rst: "it is possible to have pids.current > pids.max").
  bool attach_late = false;

  // As whom and how confined.
  uid_t uid = 0;
  gid_t gid = 0;
  std::optional<uid_t>
      stdio_owner;  // `uid` as the host knows it; nothing where the container does not map it
  mode_t umask = 022;
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
  std::optional<uint32_t> personality;
  std::optional<int> io_priority;
  std::optional<Scheduler> scheduler;
  std::optional<cpu_set_t> affinity_initial;  // before the cgroups are joined
  std::optional<cpu_set_t> affinity_final;    // and after; left out: all that the cgroup allows
  uint32_t seccomp_flags = 0;                 // SECCOMP_FILTER_FLAG_*
};

struct Plan : PlanValues {
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd = "/";
  std::vector<int> extra_fds;     // descriptors that become kFirstExtra, kFirstExtra + 1, ... in the process
  std::vector<int> cgroup_procs;  // descriptors of cgroup.procs to write "0" to; -1: passed over
  std::vector<gid_t> groups;
  std::vector<Rlimit> limits;
  std::string session_keyring;  // empty: the keyring is left alone
  std::string apparmor_exec;    // "exec <profile>"
  std::string selinux_label;
  const std::string* seccomp_program = nullptr;  // sock_filters; outlives the start
};

// What the joiner or the process writes into the report pipe when it cannot go on. The end of file that
// execve(2) makes by closing the pipe is the outcome too.
struct ChildReport {
  int32_t err = 0;
  uint32_t on_path = 0;  // 1: the error is about args[0]; 2: about cwd
  char call[32] = {};
};

}  // namespace lc::nsexec
