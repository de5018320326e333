// OOM kills in the cgroups that a container made below its own, for v1, which counts each cgroup's alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <unordered_map>

namespace lc::events {

class NestedKills {
 public:
  // How many were counted below the directory since the look before, or ever in cgroups that are new. Those
  // of a cgroup that was removed meanwhile went with it.
  uint64_t Look(const std::string& directory);

 private:
  uint64_t LookBelow(int directory, int depth);

  std::unordered_map<ino_t, uint64_t> counted_;
};

}  // namespace lc::events
