// Mountinfo, /proc/PID/cgroup, pids and freezer texts, on any bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cgroup/freeze.h"
#include "cgroup/layout.h"
#include "cgroup/pids.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t half = size / 2;
  lc::CgroupLayout layout = lc::ParseMountInfo(text.substr(0, half));
  lc::CgroupLayout usual = lc::ParseMountInfo(
      "32 31 0:29 /a /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/u rw - "
      "cgroup2 c rw\n");
  for (const lc::CgroupLayout& each : {layout, usual}) {
    lc::CgroupPaths paths = lc::PathsFromProc(each, text.substr(half));
    for (const auto& controller : paths.v1) {
      if (controller.path.empty() || controller.path[0] != '/') abort();
    }
    // A cgroup path never leads out of the mount.
    lc::CgroupPaths composed = lc::ComposePaths(usual, text);
    if (!composed.unified.empty() && composed.unified.find("/../") != std::string::npos) abort();
  }
  std::vector<pid_t> whole;
  std::vector<pid_t> pieces;
  lc::PidListParser one;
  lc::PidListParser two;
  bool one_ok = one.Feed(text, &whole) && one.Finish(&whole);
  bool two_ok =
      two.Feed(text.substr(0, half), &pieces) && two.Feed(text.substr(half), &pieces) && two.Finish(&pieces);
  if (one_ok != two_ok || (one_ok && whole != pieces)) abort();
  (void)lc::ParseFreezerState(text);
  (void)lc::ParseFreezerV2(text.substr(0, half), text.substr(half));
  return 0;
}
