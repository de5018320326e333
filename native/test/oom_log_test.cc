// Records of the kernel's log: which of them say that the OOM killer ended a process.
#include "shim/oom_log.h"

#include <doctest/doctest.h>

using lc::shim::OomVictim;

TEST_CASE("oom log: whom a record says was killed") {
  CHECK(OomVictim("3,32541,60533802255,-;Memory cgroup out of memory: Killed process 16814 (tail) "
                  "total-vm:34616kB, anon-rss:32512kB\n") == 16814);
  CHECK(OomVictim("3,1,2,-,caller=T7;Out of memory: Killed process 7 (a (b) c) total-vm:1kB\n") == 7);
  // Linux 4.14
  CHECK(OomVictim("3,1,2,-;Killed process 99 (tail) total-vm:1kB, anon-rss:1kB\n") == 99);
}

TEST_CASE("oom log: records that say something else") {
  CHECK_FALSE(OomVictim(""));
  CHECK_FALSE(OomVictim("3"));
  CHECK_FALSE(OomVictim("3,1,2,-"));
  CHECK_FALSE(OomVictim("x,1,2,-;Killed process 99 (tail)"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 99"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 99999999999 (tail)"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Kill process 99 (tail) score 5"));
  // A program wrote it: the facility is "user".
  CHECK_FALSE(OomVictim("12,1,2,-;Memory cgroup out of memory: Killed process 99 (tail)"));
  // A process that is named so.
  CHECK_FALSE(OomVictim("6,1,2,-;oom_reaper: reaped process 1 (Killed process 99 (x)"));
}
