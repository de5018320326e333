// A start from a checkpoint: the runtime's restore in the place of its create and start.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>

#include "cgroup/layout.h"
#include "core/files.h"
#include "shim/container.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

constexpr const char* kConfig = "init/criu.work/criu.conf";

bool IsBelow(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

// Where runc puts a container on cgroup v2, counted from the mount; empty where that is not known beforehand.
std::string UnifiedCgroup(const Settings& settings, const std::string& own) {
  std::string wanted = settings.id;
  auto text = ReadFile(settings.bundle + "/config.json");
  JsonDocument config;
  if (text && ParseForeignJson(*text, &config)) {
    if (const JsonValue* linux_config = Member(config, "linux")) {
      std::string path = StringMember(*linux_config, "cgroupsPath").value_or("");
      if (!path.empty()) wanted = path;
    }
  }
  for (const std::string& arg : settings.runtime_args) {
    if (arg.ends_with("-systemd-cgroup")) return {};
  }
  if (wanted[0] == '/') return wanted;
  // Beside its own cgroup and not below it, since on v2 only the leaves hold processes.
  std::string beside = own.substr(0, own.rfind('/'));
  return beside + "/" + wanted;
}

}  // namespace

// runc 1.1 leaves it to CRIU to restore cgroups on v2, and CRIU makes those of the container that was dumped,
// even beside that one where it still runs. Told by CRIU's own configuration file, which runc passes over.
bool Container::RestoreWriteConfig() const {
  auto layout = ReadLayout();
  auto own = ReadFile("/proc/self/cgroup");
  if (!layout || layout->mode() != CgroupMode::kV2 || !own || !own->starts_with("0::/")) return false;
  std::string cgroup = UnifiedCgroup(settings_, std::string(TrimEnd(*own)).substr(3));
  if (cgroup.empty() || cgroup.find_first_of(" \t\n#\"'") != std::string::npos) return false;
  return WriteWholeAt(AT_FDCWD, kConfig, "cgroup-root " + cgroup + "\n").ok();
}

// The restored processes are where the runtime will look for them, and have its limits.
Status Container::RestoreCheckCgroup(pid_t pid) const {
  auto layout = ReadLayout();
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/cgroup");
  const std::string& recorded = target_->cgroups().unified;
  if (!layout || !text || recorded.empty() || layout->mode() != CgroupMode::kV2) return Ok();
  CgroupPaths actual = PathsFromProc(*layout, *text);
  if (IsBelow(actual.unified, recorded)) return Ok();
  return Error::Coded("ERR_UNSUPPORTED",
                      "CRIU restored it in the cgroup of the container that was dumped, not in its own",
                      actual.unified);
}

Status Container::RestoreRun(const std::vector<std::string>& args, const int fds[3]) {
  // This thread is the only one, and the runtime gets what is in the environment now.
  bool configured = RestoreWriteConfig();
  if (configured) setenv("CRIU_CONFIG_FILE", (settings_.directory + "/" + kConfig).c_str(), 1);
  auto run = RunRuntime("restore", args, fds, [this](int status) { StartCreated(status); });
  if (configured) unsetenv("CRIU_CONFIG_FILE");
  return run;
}

void Container::RestoreAddArguments(std::vector<std::string>* args) const {
  // CRIU's log of this restore: not beside the images, which others may restore from at the same time.
  (void)mkdir(kRestoring, 0700);
  args->insert(args->end(), {"--detach", "--image-path", start_->checkpoint, "--work-path",
                             settings_.directory + "/" + kRestoring});
  AddCriuArguments(start_->restore, args);
}

void Container::RestoreFailed(int status) {
  std::string log;
  Error error = CriuFailure(status, std::string(kRestoring) + "/restore.log", &log);
  StartUndo(std::move(error), std::move(log));
}

}  // namespace lc::shim
