// Records of the kernel's log: which of them say that the OOM killer ended a process.
#include "shim/oom_log.h"

#include <doctest/doctest.h>

#include <string>

using lc::shim::OomVictim;

TEST_CASE("oom log: whom a record says was killed") {
  CHECK(OomVictim("3,32541,60533802255,-;Memory cgroup out of memory: Killed process 16814 (tail) "
                  "total-vm:34616kB, anon-rss:32512kB\n") == 16814);
  CHECK(OomVictim("3,1,2,-,caller=T7;Out of memory: Killed process 7 (a (b) c) total-vm:1kB\n") == 7);
  // Linux 4.14
  CHECK(OomVictim("3,1,2,-;Killed process 99 (tail) total-vm:1kB, anon-rss:1kB\n") == 99);
  // RHEL 7, which names the user too.
  CHECK(OomVictim("3,1,2,-;Killed process 99 (java), UID 0, total-vm:1kB, anon-rss:1kB\n") == 99);
  CHECK(OomVictim("3,1,2,-;Out of memory (oom_kill_allocating_task): Killed process 8 (a) total-vm:1kB\n") ==
        8);
}

TEST_CASE("oom log: names that somebody chose") {
  // A process may have any name of 15 bytes.
  CHECK(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 7 (Killed process ) total-vm:1kB\n") ==
        7);
  CHECK(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 7 () total-vm:9) total-vm:1kB\n") ==
        7);
  CHECK(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 7 (\\x0aKilled) total-vm:1kB\n") == 7);
  CHECK_FALSE(OomVictim("4,1,2,-;Killed process  invoked oom-killer: gfp_mask=0xcc0, total-vm:1kB\n"));
  CHECK_FALSE(OomVictim("4,1,2,-;Out of memory:  invoked oom-killer: gfp_mask=0xcc0, order=0\n"));
  // So may a cgroup, of 255 bytes.
  for (const char* text : {
           "Memory cgroup stats for /a/Killed process 99 (x) total-vm:1kB:\n",
           "Memory cgroup stats for /Memory cgroup out of memory: Killed process 99 (x) total-vm:1kB:\n",
           "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/Killed "
           "process 99 (x) total-vm:1kB,task_memcg=/Killed process 99 (x) total-vm:1kB,task=a,pid=7,uid=0\n",
           "Tasks in /Killed process 99 (x) total-vm:1kB are going to be killed due to memory.oom.group "
           "set\n",
           "/Killed process 99 (x) total-vm:1kB\n",
           " Killed process 99 (x) total-vm:1kB\n",
           "[     99]     0    99      1        0    36864        0             0 Killed process \n",
       }) {
    CHECK_FALSE(OomVictim(std::string("6,1,2,-;") + text));
  }
}

TEST_CASE("oom log: records that say something else") {
  CHECK_FALSE(OomVictim(""));
  CHECK_FALSE(OomVictim("3"));
  CHECK_FALSE(OomVictim("3,1,2,-"));
  CHECK_FALSE(OomVictim("3,1,2,-;"));
  CHECK_FALSE(OomVictim("3,1,2,-;Killed process 99 (tail)"));  // not the whole of it
  CHECK_FALSE(OomVictim("3,1,2,-;Killed process -9 (tail) total-vm:1kB"));
  CHECK_FALSE(OomVictim("3,1,2,-;Killed process 0 (tail) total-vm:1kB"));
  CHECK_FALSE(OomVictim("3,1,2,-;Killed process (tail) total-vm:1kB"));
  CHECK_FALSE(OomVictim("x,1,2,-;Killed process 99 (tail)"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 99"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Killed process 99999999999 (tail)"));
  CHECK_FALSE(OomVictim("3,1,2,-;Memory cgroup out of memory: Kill process 99 (tail) score 5"));
  // A program wrote it: the facility is "user".
  CHECK_FALSE(OomVictim("12,1,2,-;Memory cgroup out of memory: Killed process 99 (tail)"));
  // A process that is named so.
  CHECK_FALSE(OomVictim("6,1,2,-;oom_reaper: reaped process 1 (Killed process 99 (x)"));
}
