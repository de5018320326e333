// Questions about a running container that the kernel answers: its state, its processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc::addon {

struct ContainerQuery {
  std::string id;
  std::vector<std::string> roots;  // where the runtime may keep its record
  pid_t init_pid = 0;
  uint64_t init_start = 0;
};

// "created", "running", "paused" or "stopped".
Result<std::string> QueryStatus(const ContainerQuery& query);

// The whole cgroup subtree; ERR_CONTAINER_EXITED once it is gone.
Result<std::vector<pid_t>> QueryPids(const ContainerQuery& query);

// Signals every process of the container, each by its pidfd. SIGKILL goes on until none is left that was
// forked meanwhile.
Status SignalContainer(const ContainerQuery& query, int signal);

}  // namespace lc::addon
