// A cgroup below the container's that a process goes into: its own, or one that was there.
#include "shim/own_cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup/own_cgroup.h"
#include "cgroup/remove.h"
#include "container/recorded_cgroups.h"
#include "core/files.h"

namespace lc::shim {
namespace {

// How long a container that has made cgroups below may hold this thread.
constexpr int kRemoveMs = 5;

Error Missing(const CgroupPaths& container, const std::string& path) {
  const std::vector<std::string> directories = Directories(Below(container, path));
  Error error = Error::Of(ENOENT, "open", directories.empty() ? path : directories.front());
  error.text = "the container has no cgroup '" + path + "'";
  return error;
}

}  // namespace

Result<std::unique_ptr<OwnCgroup>> OwnCgroup::Make(const CgroupPaths& container, const std::string& parent) {
  const CgroupPaths above = parent.empty() ? container : FindOwnCgroup(container, parent);
  if (above.empty() && !parent.empty()) return Missing(container, parent);
  auto name = NewOwnCgroupName();
  if (!name) return name.error();
  auto made = MakeOwnCgroup(above, *name);
  if (!made) return made.error();
  auto out = std::make_unique<OwnCgroup>();
  out->path_ = parent.empty() ? *name : parent + "/" + *name;
  out->paths_ = std::move(*made);
  out->container_ = container;
  auto opened = out->OpenProcs(container);
  if (opened) return out;
  (void)out->Remove();
  return opened.error();
}

Result<std::unique_ptr<OwnCgroup>> OwnCgroup::Open(const CgroupPaths& container, const std::string& path) {
  auto out = At(container, path);
  if (out->paths_.empty()) return Missing(container, path);
  auto opened = out->OpenProcs(container);
  if (!opened) return opened.error();
  return out;
}

std::unique_ptr<OwnCgroup> OwnCgroup::At(const CgroupPaths& container, const std::string& path) {
  auto out = std::make_unique<OwnCgroup>();
  out->path_ = path;
  out->paths_ = FindOwnCgroup(container, path);
  out->container_ = container;
  return out;
}

Status OwnCgroup::OpenProcs(const CgroupPaths& container) {
  const std::string below = "/" + path_;
  for (const std::string& directory : Directories(paths_)) {
    const std::string procs = directory + "/cgroup.procs";
    UniqueFd fd(open(procs.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return Error::Sys("open", procs);
    procs_.emplace_back(directory.substr(0, directory.size() - below.size()), std::move(fd));
  }
  if (!container.is_v2_only()) return Ok();
  directory_.Reset(open(paths_.unified.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) return Error::Sys("open", paths_.unified);
  return Ok();
}

int OwnCgroup::ProcsFor(const std::string& container) const {
  for (const auto& [directory, fd] : procs_) {
    if (directory == container) return fd.get();
  }
  return -1;
}

void OwnCgroup::CloseProcs() {
  procs_.clear();
  directory_.Reset();
}

bool OwnCgroup::Remove() const {
  // Limits may have added hierarchies: ExtendOwnCgroup().
  CgroupRemoval removal(Directories(FindOwnCgroup(container_, path_)), CgroupRemoval::Extent::kAll);
  return removal.Work(WalkDeadline(kRemoveMs)) && !removal.left();
}

std::vector<std::string> OwnCgroupsIn(const CgroupPaths& container) {
  std::vector<std::string> out;
  for (const std::string& directory : Directories(container)) {
    UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto names =
        fd ? DirectoriesIn(fd.get(), directory) : Result<std::vector<std::string>>(Error::Sys("open"));
    if (!names) continue;
    for (std::string& name : *names) {
      if (IsOwnCgroupName(name)) out.push_back(std::move(name));
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace lc::shim
