// Starting a shim, and reaching one that runs.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::client {

// Copies of shim executables in sealed memory: what a container may come to see of the shim by /proc/PID/exe
// cannot be written to, and all shims of a program share its pages (CVE-2019-5736).
class ShimImages {
 public:
  // A descriptor that stays this object's. Copied once for each file and version of it.
  Result<int> Get(const std::string& path);

 private:
  struct Image {
    UniqueFd fd;
    uint64_t inode;
    int64_t modified_ns;
    int64_t size;
  };
  std::mutex mutex_;
  std::map<std::string, Image> images_;
};

// Starts the shim for a container's state directory, apart from this process's session and parentage, and
// gives the connection to it.
Result<UniqueFd> SpawnShim(ShimImages* images, const std::string& shim, const std::string& directory,
                           const std::vector<std::string>& environment);

// Connects to the shim that serves `directory`, without waiting for it. ENOENT or ECONNREFUSED: there is
// none. EAGAIN: it has not accepted those that came before (it may be stopped).
Result<UniqueFd> ConnectShim(const std::string& directory);

}  // namespace lc::client
