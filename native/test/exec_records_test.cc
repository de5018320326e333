// Records of execs: whole or not there, and the files of a removed one are the next one's.
#include "shim/exec_records.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/files.h"
#include "shim/exit_record.h"

using lc::shim::ExecRecords;
using lc::shim::ExitRecord;
namespace fs = std::filesystem;

namespace {

// A container's directory, and the working one.
struct Ground {
  Ground() : before(fs::current_path()) {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    path = mkdtemp(name);
    fs::current_path(path);
    fs::create_directory("init");
  }
  ~Ground() {
    fs::current_path(before);
    (void)lc::RemoveTreeAt(AT_FDCWD, path);
  }
  fs::path before;
  std::string path;
};

ino_t InodeOf(const std::string& path) {
  struct stat st {};
  REQUIRE(stat(path.c_str(), &st) == 0);
  return st.st_ino;
}

std::string TextOf(const std::string& path) {
  auto text = lc::ReadFile(path);
  return text ? *text : "(none)";
}

size_t EntriesOf(const std::string& path) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

std::string Take(ExecRecords* records) {
  auto taken = records->Take();
  REQUIRE(taken.ok());
  return *taken;
}

void Add(ExecRecords* records, const std::string& process, std::string_view json, pid_t pid) {
  const std::string directory = Take(records);
  REQUIRE(ExecRecords::WriteSpec(directory, json).ok());
  REQUIRE(ExecRecords::Name(directory, process, pid, 12345).ok());
}

}  // namespace

TEST_CASE("the files of a removed record are the next one's, and say nothing of before") {
  Ground ground;
  ExecRecords records;
  Add(&records, "one", "{\"args\":[\"a much longer text\"]}", 1234567);
  REQUIRE(lc::shim::WriteExit("one", ExitRecord::FromWait(SIGKILL)).ok());
  const ino_t directory = InodeOf("one");
  const ino_t exit = InodeOf("one/exitStatus");
  const ino_t details = InodeOf("one/exit.json");
  REQUIRE(ExecRecords::WriteOwn("one", "{\"cgroup\":\"lc.1\"}").ok());
  REQUIRE(records.Remove("one").ok());
  CHECK_FALSE(fs::exists("one"));

  Add(&records, "two", "{\"args\":[]}", 7);
  CHECK(InodeOf("two") == directory);
  CHECK(TextOf("two/process.json") == "{\"args\":[]}");
  CHECK(TextOf("two/pid") == "7");
  CHECK(TextOf("two/starttime") == "12345");
  CHECK(TextOf("two/own.json").empty());
  CHECK_FALSE(lc::shim::ReadExit("two")->has_value());
  REQUIRE(lc::shim::WriteExit("two", ExitRecord::FromWait(3 << 8)).ok());
  CHECK(InodeOf("two/exitStatus") == exit);
  CHECK(TextOf("two/exitStatus") == "3");
  CHECK((*lc::shim::ReadExit("two"))->signal == 0);
  CHECK(EntriesOf("two") == 6);
  CHECK(EntriesOf("init/execs") == 0);

  REQUIRE(records.Remove("two").ok());
  Add(&records, "three", "{}", 8);
  REQUIRE(lc::shim::WriteExit("three", ExitRecord::FromWait(SIGTERM)).ok());
  CHECK(InodeOf("three/exit.json") == details);
  CHECK((*lc::shim::ReadExit("three"))->signal == SIGTERM);
}

TEST_CASE("one that never ran is kept too; what holds anything else is removed") {
  Ground ground;
  ExecRecords records;
  Add(&records, "unborn", "{}", 1);
  const ino_t unborn = InodeOf("unborn");
  REQUIRE(records.Remove("unborn").ok());
  Add(&records, "born", "{}", 1);
  CHECK(InodeOf("born") == unborn);

  for (const char* spoil : {"born/stdout", "born/pid"}) {
    REQUIRE(lc::shim::WriteExit("born", ExitRecord::FromWait(0)).ok());
    if (std::string(spoil) == "born/pid") {
      REQUIRE(unlink(spoil) == 0);
    } else {
      REQUIRE(lc::WriteNew(spoil, "kept").ok());
    }
    REQUIRE(records.Remove("born").ok());
    CHECK_FALSE(fs::exists("born"));
    CHECK(EntriesOf("init/execs") == 0);
    Add(&records, "born", "{}", 1);
  }
}

TEST_CASE("no more than some are kept, and an earlier shim's none") {
  Ground ground;
  ExecRecords records;
  for (int i = 0; i < 30; ++i) Add(&records, std::to_string(i), "{}", 1);
  for (int i = 0; i < 30; ++i) REQUIRE(records.Remove(std::to_string(i)).ok());
  CHECK(EntriesOf("init/execs") <= 16);
  CHECK(EntriesOf("init/execs") > 0);
  CHECK(EntriesOf(".") == 1);
  ExecRecords::RemoveLeft();
  CHECK_FALSE(fs::exists("init/execs"));
}

TEST_CASE("a name that is taken stays what it was") {
  Ground ground;
  ExecRecords records;
  Add(&records, "one", "{\"args\":[1]}", 1);
  const std::string mine = Take(&records);
  REQUIRE(ExecRecords::WriteSpec(mine, "{}").ok());
  CHECK(ExecRecords::Name(mine, "one", 2, 3).error().err != 0);
  CHECK(TextOf("one/process.json") == "{\"args\":[1]}");
  REQUIRE(records.Remove(mine).ok());
  CHECK(fs::exists("one"));
}
