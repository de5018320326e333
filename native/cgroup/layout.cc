// Which cgroup hierarchies this machine has and where they are mounted, and the paths that follow from it.
#include "cgroup/layout.h"

#include <algorithm>
#include <optional>

#include "core/files.h"

namespace lc {
namespace {

std::string_view NextField(std::string_view* rest, char separator = ' ') {
  size_t end = rest->find(separator);
  std::string_view field = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return field;
}

// The kernel writes blank, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    auto octal = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && octal(i + 1) && text[i + 1] <= '3' && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// Among the super block options of a v1 mount those that are no controllers (cgroup1_show_options).
bool IsMountFlag(std::string_view option) {
  static constexpr std::string_view kFlags[] = {
      "rw",         "ro",           "xattr",    "noprefix", "none", "all", "clone_children", "cpuset_v2_mode",
      "nsdelegate", "favordynmods", "seclabel", "relatime"};
  return option.starts_with("release_agent=") ||
         std::find(std::begin(kFlags), std::end(kFlags), option) != std::end(kFlags);
}

// "/docker/abc/web" seen through a mount of "/docker/abc" is "/web"; nothing where it is not below it.
std::optional<std::string_view> BelowRoot(std::string_view path, std::string_view root) {
  if (root == "/") return path;
  if (!path.starts_with(root)) return std::nullopt;
  path.remove_prefix(root.size());
  if (!path.empty() && path.front() != '/') return std::nullopt;
  return path;
}

std::string Join(std::string_view mount_point, std::string_view path) {
  std::string out(mount_point);
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  if (path.empty()) return out;
  if (out.empty() || out.back() != '/') out += '/';
  out += path;
  return out;
}

// A hierarchy may be mounted more than once. The whole of it beats a part, the usual place beats another.
int Rank(const CgroupMount& mount) {
  int rank = mount.root == "/" ? 2 : 0;
  if (mount.mount_point == "/sys/fs/cgroup" || mount.mount_point.starts_with("/sys/fs/cgroup/")) ++rank;
  return rank;
}

bool HasDotDot(std::string_view path) {
  while (!path.empty()) {
    if (NextField(&path, '/') == "..") return true;
  }
  return false;
}

}  // namespace

CgroupMode CgroupLayout::mode() const {
  bool v1 = std::any_of(mounts.begin(), mounts.end(), [](const CgroupMount& m) { return !m.v2; });
  if (FindV2() == nullptr) return v1 ? CgroupMode::kV1 : CgroupMode::kNone;
  return v1 ? CgroupMode::kHybrid : CgroupMode::kV2;
}

const CgroupMount* CgroupLayout::FindV1(std::string_view controller) const {
  for (const CgroupMount& mount : mounts) {
    if (std::find(mount.controllers.begin(), mount.controllers.end(), controller) !=
        mount.controllers.end()) {
      return &mount;
    }
  }
  return nullptr;
}

const CgroupMount* CgroupLayout::FindV2() const {
  for (const CgroupMount& mount : mounts) {
    if (mount.v2) return &mount;
  }
  return nullptr;
}

CgroupLayout ParseMountInfo(std::string_view mountinfo) {
  // 31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
  std::vector<CgroupMount> all;
  while (!mountinfo.empty()) {
    std::string_view line = NextField(&mountinfo, '\n');
    size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    std::string_view after = line.substr(dash + 3);
    std::string_view type = NextField(&after);
    std::string_view before = line.substr(0, dash);
    for (int skip = 0; skip < 3; ++skip) NextField(&before);
    CgroupMount mount;
    mount.root = Unescape(NextField(&before));
    mount.mount_point = Unescape(NextField(&before));
    if (mount.root.empty() || !mount.mount_point.starts_with('/')) continue;
    // What is mounted over another thing hides it.
    std::erase_if(all, [&](const CgroupMount& m) { return m.mount_point == mount.mount_point; });
    NextField(&after);  // source
    if (type == "cgroup2") {
      mount.v2 = true;
    } else if (type == "cgroup") {
      std::string_view options = NextField(&after);
      while (!options.empty()) {
        std::string_view option = NextField(&options, ',');
        if (!option.empty() && !IsMountFlag(option)) mount.controllers.push_back(Unescape(option));
      }
      if (mount.controllers.empty()) continue;
    } else {
      continue;
    }
    all.push_back(std::move(mount));
  }
  CgroupLayout layout;
  std::stable_sort(all.begin(), all.end(),
                   [](const CgroupMount& a, const CgroupMount& b) { return Rank(a) > Rank(b); });
  for (CgroupMount& mount : all) {
    if (mount.v2 ? layout.FindV2() != nullptr : layout.FindV1(mount.controllers.front()) != nullptr) continue;
    layout.mounts.push_back(std::move(mount));
  }
  return layout;
}

Result<CgroupLayout> ReadLayout() {
  auto text = ReadFile("/proc/self/mountinfo");
  if (!text) return text.error();
  return ParseMountInfo(*text);
}

CgroupPaths ComposePaths(const CgroupLayout& layout, std::string_view path) {
  CgroupPaths out;
  if (HasDotDot(path)) return out;
  for (const CgroupMount& mount : layout.mounts) {
    std::string directory = Join(mount.mount_point, path);
    for (const std::string& controller : mount.controllers) out.v1.push_back({controller, directory});
    if (mount.v2) out.unified = std::move(directory);
  }
  return out;
}

CgroupPaths PathsFromProc(const CgroupLayout& layout, std::string_view proc_cgroup) {
  CgroupPaths out;
  while (!proc_cgroup.empty()) {
    std::string_view line = NextField(&proc_cgroup, '\n');
    // 4:memory:/web, 2:cpu,cpuacct:/web, 0::/web; the path may hold colons itself.
    NextField(&line, ':');
    std::string_view controllers = NextField(&line, ':');
    // A cgroup namespace shows what lies outside of it as /.. and so on: no mount leads there.
    if (!line.starts_with('/') || HasDotDot(line)) continue;
    if (controllers.empty()) {
      const CgroupMount* mount = layout.FindV2();
      auto below = mount == nullptr ? std::nullopt : BelowRoot(line, mount->root);
      if (below) out.unified = Join(mount->mount_point, *below);
      continue;
    }
    while (!controllers.empty()) {
      std::string_view controller = NextField(&controllers, ',');
      const CgroupMount* mount = layout.FindV1(controller);
      auto below = mount == nullptr ? std::nullopt : BelowRoot(line, mount->root);
      if (below) out.v1.push_back({std::string(controller), Join(mount->mount_point, *below)});
    }
  }
  return out;
}

}  // namespace lc
