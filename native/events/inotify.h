// One inotify instance: a user may have few of them (128), so all watches of an environment share it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

class Inotify {
 public:
  using OnChange = std::function<void(int watch, uint32_t mask, std::string_view name)>;

  // EMFILE says in its text whether instances or descriptors are used up, and names the sysctl.
  Status Open();
  int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

  // ENOSPC names the sysctl.
  Result<int> Add(const std::string& path, uint32_t mask);
  void Remove(int watch);

  // Everything that waits. False when the queue overflowed: then anything may have changed.
  bool Drain(const OnChange& on_change);

 private:
  UniqueFd fd_;
};

}  // namespace lc::events
