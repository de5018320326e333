// State directories in one pass: what is there, what cannot be read, and a machine that is short of
// descriptors.
#include "state/state_directory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/files.h"
#include "core/unique_fd.h"

namespace {

struct Ground {
  Ground() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~Ground() { (void)lc::RemoveTreeAt(AT_FDCWD, path); }
  void Put(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories(std::filesystem::path(path + "/" + name).parent_path());
    REQUIRE(lc::WriteNew(path + "/" + name, text).ok());
  }
  std::string path;
};

}  // namespace

TEST_CASE("a state directory is read whole, file by file") {
  Ground ground;
  ground.Put("state.json", "{}");
  ground.Put("init/process.json", "{\"args\":[]}");
  ground.Put("init/pid", "12");
  ground.Put("init/starttime", "34");
  ground.Put("job/process.json", "x");
  ground.Put("job/exitStatus", "3");
  std::filesystem::create_directories(ground.path + "/job/pid");
  std::filesystem::create_directories(ground.path + "/empty");
  REQUIRE(symlink("init", (ground.path + "/link").c_str()) == 0);
  auto read = lc::ReadStateDirectory(ground.path);
  REQUIRE(read.ok());
  CHECK(!read->unfinished);
  CHECK(!read->earlier_boot);
  REQUIRE(read->processes.size() == 3);
  for (const lc::ProcessText& process : read->processes) {
    CAPTURE(process.id);
    if (process.id == "init") {
      CHECK(*process.process == "{\"args\":[]}");
      CHECK(process.pid == "12");
      CHECK(process.starttime == "34");
      CHECK(!process.exit_status);
    } else if (process.id == "job") {
      CHECK(process.pid == "");  // there, and no file
      CHECK(!process.starttime);
      CHECK(process.exit_status == "3");
      CHECK(process.exit_status_ms > 1e12);
      CHECK(!process.exit);
    } else {
      CHECK(process.id == "empty");
      CHECK(!process.process);
      CHECK(process.process.error().err == ENOENT);
      CHECK(process.process.error().path == ground.path + "/empty/process.json");
    }
  }
}

TEST_CASE("a state directory that is not there") {
  auto read = lc::ReadStateDirectory("/tmp/lc-native-test-none");
  REQUIRE(!read);
  CHECK(read.error().err == ENOENT);
}

TEST_CASE("a state directory without a descriptor to read it by is never half of one") {
  Ground ground;
  ground.Put("init/process.json", "{}");
  ground.Put("init/pid", "12");
  ground.Put("init/exitStatus", "0");
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
  lc::UniqueFd first(open("/dev/null", O_RDONLY | O_CLOEXEC));
  int read = 0;
  for (int more = 0; read == 0; ++more) {
    REQUIRE(more < 10);
    rlimit low = old;
    low.rlim_cur = static_cast<rlim_t>(first.get() + 1 + more);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    auto directory = lc::ReadStateDirectory(ground.path);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    if (directory) {
      REQUIRE(directory->processes.size() == 1);
      CHECK(directory->processes[0].exit_status == "0");
      ++read;
    } else {
      CHECK(directory.error().err == EMFILE);
    }
  }
}
