// Mounts and paths: this machine's layout, offset mounts, joined names, v2, and texts that make no sense.
#include <doctest/doctest.h>

#include "cgroup/layout.h"

using lc::CgroupMode;

namespace {

const char* kHybrid =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

// As seen from within a container: a part of each hierarchy, elsewhere.
const char* kOffset =
    "600 500 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:17 - cgroup cgroup rw,memory\n"
    "601 500 0:33 /docker/abc /sys/fs/cgroup/devices ro,nosuid master:18 - cgroup cgroup rw,devices\n";

}  // namespace

TEST_CASE("mode: a hybrid machine with joined controllers") {
  lc::CgroupLayout layout = lc::ParseMountInfo(kHybrid);
  CHECK(layout.mode() == CgroupMode::kHybrid);
  lc::CgroupPaths paths = lc::ComposePaths(layout, "/web");
  REQUIRE(paths.Find("cpu") != nullptr);
  CHECK(*paths.Find("cpu") == "/sys/fs/cgroup/cpu,cpuacct/web");
  CHECK(*paths.Find("cpuacct") == "/sys/fs/cgroup/cpu,cpuacct/web");
  CHECK(*paths.Find("name=systemd") == "/sys/fs/cgroup/systemd/web");
  CHECK(paths.unified == "/sys/fs/cgroup/unified/web");
  CHECK(paths.v1.size() == 4);
  CHECK(paths.Find("xattr") == nullptr);
}

TEST_CASE("mode: v1 alone, v2 alone, nothing") {
  CHECK(lc::ParseMountInfo(kOffset).mode() == CgroupMode::kV1);
  auto v2 =
      lc::ParseMountInfo("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  CHECK(v2.mode() == CgroupMode::kV2);
  CHECK(lc::ComposePaths(v2, "user.slice/a/").unified == "/sys/fs/cgroup/user.slice/a");
  CHECK(lc::ComposePaths(v2, "/").unified == "/sys/fs/cgroup");
  CHECK(lc::ParseMountInfo("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n").mode() == CgroupMode::kNone);
  CHECK(lc::ParseMountInfo("").mode() == CgroupMode::kNone);
}

TEST_CASE("mode: paths of a process, where this program sees only a part of the hierarchies") {
  lc::CgroupLayout layout = lc::ParseMountInfo(kOffset);
  lc::CgroupPaths paths =
      lc::PathsFromProc(layout,
                        "9:memory:/docker/abc/web\n8:devices:/docker/abc\n7:pids:/docker/abc\n"
                        "0::/docker/abc/web\n");
  CHECK(*paths.Find("memory") == "/sys/fs/cgroup/memory/web");
  CHECK(*paths.Find("devices") == "/sys/fs/cgroup/devices");
  CHECK(paths.Find("pids") == nullptr);
  CHECK(paths.unified.empty());
  // Not below the mount, by a name that only begins the same.
  CHECK(lc::PathsFromProc(layout, "9:memory:/docker/abcd\n").v1.empty());
  CHECK(lc::PathsFromProc(layout, "9:memory:/../other\n").v1.empty());
}

TEST_CASE("mode: a path may hold colons, a controller list more than one name") {
  lc::CgroupLayout layout = lc::ParseMountInfo(kHybrid);
  lc::CgroupPaths paths = lc::PathsFromProc(layout, "2:cpu,cpuacct:/a:b\n0::/c\n");
  CHECK(*paths.Find("cpuacct") == "/sys/fs/cgroup/cpu,cpuacct/a:b");
  CHECK(paths.unified == "/sys/fs/cgroup/unified/c");
}

TEST_CASE("mode: escapes, overmounts, repeated mounts, garbage") {
  auto escaped = lc::ParseMountInfo("1 0 0:1 /a\\040b /mnt/x\\011y rw - cgroup c rw,memory\n");
  REQUIRE(escaped.mounts.size() == 1);
  CHECK(escaped.mounts[0].root == "/a b");
  CHECK(escaped.mounts[0].mount_point == "/mnt/x\ty");
  auto hidden = lc::ParseMountInfo(
      "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup c rw,memory\n2 1 0:2 / /sys/fs/cgroup/memory rw - tmpfs t "
      "rw\n");
  CHECK(hidden.mode() == CgroupMode::kNone);
  auto twice = lc::ParseMountInfo(
      "1 0 0:1 /part /mnt/memory rw - cgroup c rw,memory\n2 1 0:1 / /sys/fs/cgroup/memory rw - cgroup c "
      "rw,memory\n");
  REQUIRE(twice.mounts.size() == 1);
  CHECK(twice.mounts[0].mount_point == "/sys/fs/cgroup/memory");
  for (const char* text :
       {"-", " - ", "1 2 3", "1 0 0:1 / relative rw - cgroup c rw,memory", "\n\n - cgroup\n",
        "1 0 0:1 / /x rw - cgroup c", "1 0 0:1 / /x rw - cgroup c rw,,"}) {
    CHECK(lc::ParseMountInfo(text).mounts.empty());
  }
  CHECK(lc::ComposePaths(lc::ParseMountInfo(kHybrid), "/a/../../etc").empty());
  CHECK(lc::PathsFromProc(lc::ParseMountInfo(kHybrid), "x\n::\n:::\nmemory").v1.empty());
}
