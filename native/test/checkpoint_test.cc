// The shim's side of checkpoints: who gets a name, what a dump may build on, what is read from CRIU's log.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "core/files.h"
#include "shim/checkpoint_directory.h"
#include "shim/criu_log.h"

using lc::shim::CheckpointDirectory;
using lc::shim::DumpHistory;

namespace {

struct Bundle {
  Bundle() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~Bundle() { (void)lc::RemoveTreeAt(AT_FDCWD, path); }
  Bundle(const Bundle&) = delete;
  Bundle& operator=(const Bundle&) = delete;

  std::string Of(const std::string& name) const { return path + "/checkpoints/" + name; }
  bool Has(const std::string& name) const { return access(Of(name).c_str(), F_OK) == 0; }
  mode_t Mode(const std::string& name) const {
    struct stat st {};
    return stat(Of(name).c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
  }

  std::string path;
};

std::string CodeOf(const lc::Error& error) {
  return error.code == nullptr ? "" : error.code;
}

}  // namespace

TEST_CASE("a checkpoint is seen when it is whole, and then closed to others") {
  Bundle bundle;
  auto directory = CheckpointDirectory::Claim(bundle.path, "one", R"({"created":"now"})");
  REQUIRE(directory.ok());
  CHECK_FALSE(bundle.Has("one"));
  CHECK(access(directory->work_path().c_str(), F_OK) == 0);
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, directory->path() + "/pages-1.img", "memory", 0644).ok());
  REQUIRE(directory->Commit().ok());
  CHECK(bundle.Has("one/config.json"));
  CHECK_FALSE(bundle.Has(":one"));
  CHECK(bundle.Mode("one") == 0711);
  CHECK(bundle.Mode("one/pages-1.img") == 0600);
  CHECK(bundle.Mode("one/criu.work") == 0700);
}

TEST_CASE("a name is given once: while it is made, and when it is there") {
  Bundle bundle;
  auto first = CheckpointDirectory::Claim(bundle.path, "one", "{}");
  REQUIRE(first.ok());
  auto second = CheckpointDirectory::Claim(bundle.path, "one", "{}");
  CHECK(CodeOf(second.error()) == "ERR_CHECKPOINT_EXISTS");
  CHECK(CheckpointDirectory::Claim(bundle.path, "two", "{}").ok());
  REQUIRE(first->Commit().ok());
  auto third = CheckpointDirectory::Claim(bundle.path, "one", "{}");
  CHECK(CodeOf(third.error()) == "ERR_CHECKPOINT_EXISTS");
}

TEST_CASE("what a dump that was cut off has left is no claim") {
  Bundle bundle;
  {
    auto lost = CheckpointDirectory::Claim(bundle.path, "one", "{}");
    REQUIRE(lost.ok());
    REQUIRE(lc::WriteWholeAt(AT_FDCWD, lost->path() + "/half.img", "x").ok());
  }
  CHECK(bundle.Has(":one/half.img"));
  auto again = CheckpointDirectory::Claim(bundle.path, "one", "{}");
  REQUIRE(again.ok());
  CHECK_FALSE(bundle.Has(":one/half.img"));
  again->Discard();
  CHECK_FALSE(bundle.Has(":one"));
  CHECK(CheckpointDirectory::Claim(bundle.path, "one", "{}").ok());
}

TEST_CASE("a checkpoint does not replace what came to its place by another hand") {
  Bundle bundle;
  auto directory = CheckpointDirectory::Claim(bundle.path, "one", "{}");
  REQUIRE(directory.ok());
  REQUIRE(mkdir(bundle.Of("one").c_str(), 0700) == 0);
  auto committed = directory->Commit();
  CHECK(committed.error().err == EEXIST);
  CHECK(bundle.Has(":one"));
}

TEST_CASE("names that lead elsewhere") {
  Bundle bundle;
  for (const char* name : {"", ".", "..", "a/b", "../x", ":x", "x:y"}) {
    CHECK_FALSE(lc::shim::IsCheckpointName(name));
    auto claimed = CheckpointDirectory::Claim(bundle.path, name, "{}");
    CHECK(CodeOf(claimed.error()) == "ERR_INVALID_ARG_VALUE");
  }
}

TEST_CASE("a parent is the last dump that counts pages, or one after it") {
  Bundle bundle;
  auto make = [&](const std::string& name, const std::string& created) {
    auto directory = CheckpointDirectory::Claim(bundle.path, name, R"({"created":")" + created + R"("})");
    REQUIRE(directory.ok());
    REQUIRE(directory->Commit().ok());
  };
  DumpHistory history(bundle.path + "/dumps");
  make("a", "t1");
  make("b", "t2");
  make("ab", "t3");
  CHECK(CodeOf(history.CheckParent(bundle.path, "a").error()) == "ERR_CHECKPOINT_NOT_FOUND");
  REQUIRE(history.Add("ab", "t3").ok());
  REQUIRE(history.Add("b", "t2").ok());
  CHECK(history.CheckParent(bundle.path, "ab").ok());
  CHECK(history.CheckParent(bundle.path, "b").ok());
  CHECK_FALSE(history.CheckParent(bundle.path, "a").ok());
  CHECK_FALSE(history.CheckParent(bundle.path, "none").ok());
  CHECK_FALSE(history.CheckParent(bundle.path, "../a").ok());
  // Deleted, and another one made under the name.
  (void)lc::RemoveTreeAt(AT_FDCWD, bundle.Of("b"));
  make("b", "t4");
  CHECK_FALSE(history.CheckParent(bundle.path, "b").ok());
  history.Forget();
  CHECK_FALSE(history.CheckParent(bundle.path, "ab").ok());
}

TEST_CASE("the errors of CRIU's log") {
  using lc::shim::CriuErrorLines;
  using lc::shim::FirstCriuError;
  std::string log =
      "(00.000001) Version: 3.17\n"
      "(00.1) Error (criu/sk-inet.c:191): inet: Connected TCP socket\n"
      "(00.2) Warn  (criu/x.c:1): no Error\n"
      "(00.3)     12: Error (criu/cr-dump.c:2053): Dumping FAILED.";
  std::string errors = CriuErrorLines(log);
  CHECK(errors ==
        "(00.1) Error (criu/sk-inet.c:191): inet: Connected TCP socket\n"
        "(00.3)     12: Error (criu/cr-dump.c:2053): Dumping FAILED.");
  CHECK(FirstCriuError(errors) == "Error (criu/sk-inet.c:191): inet: Connected TCP socket");
  CHECK(CriuErrorLines("").empty());
  CHECK(FirstCriuError("").empty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += "Error (" + std::to_string(i) + ")" + std::string(1000, 'x') + "\n";
  errors = CriuErrorLines(many);
  CHECK(errors.starts_with("Error (60)"));
  CHECK(errors.size() < 40 * 502);

  Bundle bundle;
  std::string path = bundle.path + "/dump.log";
  CHECK(lc::shim::CriuErrors(path).empty());
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, path, std::string(1 << 20, 'a') + "\n" + log).ok());
  CHECK(FirstCriuError(lc::shim::CriuErrors(path)) ==
        "Error (criu/sk-inet.c:191): inet: Connected TCP socket");
}
