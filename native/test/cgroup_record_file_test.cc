// runc's record on disk: whole versions only, another hand's saves kept, no litter.
#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <string>
#include <thread>

#include "cgroup/update/record_file.h"
#include "cgroup/update/record_patch.h"
#include "cgroup/update/resources_json.h"
#include "cgroup_trees.h"

namespace {

std::string Record(int other) {
  return "{\"config\":{\"cgroups\":{\"pids_limit\":" + std::to_string(other) + ",\"memory\":0}}}";
}

lc::Resources Memory(int64_t limit) {
  lc::Resources out;
  out.memory.limit = limit;
  return out;
}

lc::Status Patch(const std::string& path, const lc::Resources& resources) {
  auto file = lc::RecordFile::Open(path);
  if (!file) return file.error();
  return file->Patch(resources, {});
}

size_t FilesIn(const std::string& directory) {
  size_t count = 0;
  DIR* dir = opendir(directory.c_str());
  while (dirent* entry = readdir(dir)) count += entry->d_name[0] == '.' ? 0 : 1;
  closedir(dir);
  return count;
}

int NumberAfter(const std::string& text, const std::string& key) {
  size_t at = text.find("\"" + key + "\":");
  return at == std::string::npos ? -1 : std::stoi(text.substr(at + key.size() + 3));
}

}  // namespace

TEST_CASE("record file: patched in place, with its mode") {
  lc_test::Tree tree;
  std::string path = tree.path + "/state.json";
  tree.File("state.json", Record(5));
  chmod(path.c_str(), 0640);
  REQUIRE(Patch(path, Memory(9)).ok());
  CHECK(tree.Text("state.json") == "{\"config\":{\"cgroups\":{\"pids_limit\":5,\"memory\":9}}}");
  struct stat st {};
  stat(path.c_str(), &st);
  CHECK((st.st_mode & 07777U) == 0640);
  CHECK(FilesIn(tree.path) == 1);
  // A program that died in the middle left its temporary file, under the number of a process that is back.
  tree.File("state.json.tmp." + std::to_string(getpid()), "half");
  REQUIRE(Patch(path, Memory(10)).ok());
  CHECK(FilesIn(tree.path) == 1);
}

TEST_CASE("record file: what is no record stays as it is") {
  lc_test::Tree tree;
  std::string path = tree.path + "/state.json";
  CHECK(Patch(path, Memory(9)).error().err == ENOENT);
  tree.File("state.json", "{\"config\":{");
  auto patched = Patch(path, Memory(9));
  REQUIRE_FALSE(patched.ok());
  CHECK(std::string(patched.error().code) == "ERR_STATE_CORRUPT");
  CHECK(patched.error().path == path);
  CHECK(tree.Text("state.json") == "{\"config\":{");
  CHECK(FilesIn(tree.path) == 1);
}

TEST_CASE("record file: no save of another hand is lost, and every reader sees a whole version") {
  lc_test::Tree tree;
  std::string path = tree.path + "/state.json";
  tree.File("state.json", Record(0));
  std::atomic<bool> done{false};
  // As runc saves: a new file and a rename, with no look at what is there.
  std::thread other([&] {
    for (int i = 1; i <= 3000; ++i) {
      tree.File("other", Record(i));
      rename((tree.path + "/other").c_str(), path.c_str());
    }
    done = true;
  });
  int patches = 0;
  int last = 0;
  bool whole = true;
  bool forward = true;
  while (!done) {
    // Gives up where the other hand is too fast, and then must lose nothing either.
    if (!Patch(path, Memory(++patches)).ok()) --patches;
    std::string text = tree.Text("state.json");
    whole = whole && lc::RuncRecord::Parse(text, path).ok();
    int now = NumberAfter(text, "pids_limit");
    forward = forward && now >= last;
    last = now;
  }
  other.join();
  REQUIRE(Patch(path, Memory(7)).ok());
  CHECK(whole);
  CHECK(forward);
  CHECK(patches > 0);
  CHECK(NumberAfter(tree.Text("state.json"), "pids_limit") == 3000);
  CHECK(NumberAfter(tree.Text("state.json"), "memory") == 7);
  CHECK(FilesIn(tree.path) == 1);
}
