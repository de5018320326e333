// Every parser of a statistics file: what the kernel writes, and what it never would.
#include <doctest/doctest.h>

#include <string>

#include "cgroup/scan.h"
#include "cgroup/stats/files.h"
#include "cgroup/stats/parse.h"
#include "cgroup_trees.h"

using lc::Limit;
using lc::Stats;

TEST_CASE("scan: numbers to the last bit") {
  CHECK(lc::ScanU64("18446744073709551615\n") == UINT64_MAX);
  CHECK(!lc::ScanU64("18446744073709551616\n"));
  CHECK(!lc::ScanU64("99999999999999999999999\n"));
  CHECK(lc::ScanU64("00000000000000000000007") == 7);
  CHECK(lc::ScanU64("0") == 0);
  for (const char* text : {"", "\n", "x", "1x", "-1", "1 2", "+1", " 1"}) CHECK(!lc::ScanU64(text));
  CHECK(lc::ScanI64("-1\n") == -1);
  CHECK(lc::ScanI64("-9223372036854775808") == INT64_MIN);
  CHECK(!lc::ScanI64("-9223372036854775809"));
  CHECK(!lc::ScanI64("9223372036854775808"));
  CHECK(!lc::ScanI64("-"));
  CHECK(lc::ScanKeyed("low 0\noom 2\noom_kill 3\n", "oom_kill") == 3);
  CHECK(!lc::ScanKeyed("oom_kill", "oom_kill"));
  CHECK(!lc::ScanKeyed("oom_kill x\n", "oom_kill"));
  CHECK(!lc::ScanKeyed("oom_kill 1x\n", "oom_kill"));
}

TEST_CASE("stats: limits") {
  CHECK(lc::ParseLimitV1("9223372036854771712\n").state == Limit::State::kNone);
  CHECK(lc::ParseLimitV1("9223372036854710272\n").state == Limit::State::kNone);  // 64 KB pages
  CHECK(lc::ParseLimitV1("104857600\n").value == 104857600);
  CHECK(lc::ParseLimitV1("max\n").state == Limit::State::kUnknown);
  CHECK(lc::ParseLimitV2("max\n").state == Limit::State::kNone);
  CHECK(lc::ParseLimitV2("50\n").value == 50);
  CHECK(lc::ParseLimitV2("\n").state == Limit::State::kUnknown);
  CHECK(lc::ParseLimitV2("maximum\n").state == Limit::State::kUnknown);
}

TEST_CASE("stats: lists of CPUs") {
  lc::FigureList<uint16_t> list;
  lc::ParseIdList("0-3,7,9-10\n", &list);
  CHECK(list.present);
  CHECK(list.items == std::vector<uint16_t>{0, 1, 2, 3, 7, 9, 10});
  lc::ParseIdList("\n", &list);
  CHECK(list.present);
  CHECK(list.items.empty());
  for (const char* text : {"3-1", "1,0", "0-65536", "0-", "x", "1,,2", "0-9 ", "0-65535,0-65535"}) {
    lc::ParseIdList(text, &list);
    CHECK_FALSE(list.present);
    CHECK(list.items.empty());
  }
}

TEST_CASE("stats: memory.stat shares its keys between reads") {
  std::shared_ptr<const lc::KeyList> keys;
  std::vector<uint64_t> values;
  lc::ParseMemoryStat("cache 1\nrss 2\n", &keys, &values);
  auto first = keys;
  CHECK(*keys == lc::KeyList{"cache", "rss"});
  CHECK(values == std::vector<uint64_t>{1, 2});
  lc::ParseMemoryStat("cache 5\nrss 6\n", &keys, &values);
  CHECK(keys == first);
  CHECK(values == std::vector<uint64_t>{5, 6});
  lc::ParseMemoryStat("cache 5\nanon 6\n", &keys, &values);
  CHECK(*keys == lc::KeyList{"cache", "anon"});
  CHECK(*first == lc::KeyList{"cache", "rss"});
  lc::ParseMemoryStat("cache 5\n", &keys, &values);
  CHECK(*keys == lc::KeyList{"cache"});
  lc::ParseMemoryStat("cache 5\ngarbage\n 7\nx -1\nrss 99999999999999999999\nmore 1 2\nlast 8", &keys,
                      &values);
  CHECK(*keys == lc::KeyList{"cache", "last"});
  CHECK(values == std::vector<uint64_t>{5, 8});
  lc::ParseMemoryStat("", &keys, &values);
  CHECK(keys->empty());
}

TEST_CASE("stats: cpu") {
  Stats s;
  lc::ParseCpuacctStat("user 3\nsystem 5\n", &s);
  CHECK(s.cpu.user == 30'000'000);
  CHECK(s.cpu.kernel == 50'000'000);
  lc::ParseCpuacctStat("user 18446744073709551615\n", &s);
  CHECK(!s.cpu.user);
  CHECK(!s.cpu.kernel);
  lc::ParseUsageAll("cpu user system\n0 3932419 10436741\n1 0 7\n", &s);
  CHECK(s.cpu.percpu_user.items == std::vector<uint64_t>{3932419, 0});
  CHECK(s.cpu.percpu_kernel.items == std::vector<uint64_t>{10436741, 7});
  for (const char* text : {"", "cpu user\n0 1 2\n", "cpu user system\n0 1\n", "cpu user system\n"}) {
    lc::ParseUsageAll(text, &s);
    CHECK_FALSE(s.cpu.percpu_user.present);
  }
  lc::ParsePercpu("13741793 2925584 \n", &s.cpu.percpu);
  CHECK(s.cpu.percpu.items == std::vector<uint64_t>{13741793, 2925584});
  lc::ParsePercpu("1 x\n", &s.cpu.percpu);
  CHECK_FALSE(s.cpu.percpu.present);
  lc::ParseCpuStatV1("nr_periods 4\nnr_throttled 2\nthrottled_time 900\nnr_bursts 0\n", &s);
  CHECK(s.cpu.periods == 4);
  CHECK(s.cpu.throttled_time == 900);
  s.Clear();
  CHECK(!s.cpu.periods);
  lc::ParseCpuStatV2(
      "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 1\nnr_throttled 1\nthrottled_usec 2\n", &s);
  CHECK(s.cpu.total == 7000);
  CHECK(s.cpu.user == 4000);
  CHECK(s.cpu.kernel == 3000);
  CHECK(s.cpu.throttled_time == 2000);
}

TEST_CASE("stats: block devices, v1") {
  lc::FigureList<lc::BlkioEntry> list;
  lc::ParseBlkio("8:0 Read 100\n8:0 Write 200\n8:0 Total 300\n259:1 7\nTotal 300\n", &list);
  REQUIRE(list.items.size() == 4);
  CHECK(list.items[1].op == "Write");
  CHECK(list.items[1].value == 200);
  CHECK(list.items[3].op == "");
  CHECK(list.items[3].major == 259);
  CHECK(list.items[3].minor == 1);
  lc::ParseBlkio("Total 0\n", &list);
  CHECK(list.present);
  CHECK(list.items.empty());
  lc::ParseBlkio("8:0 Read\n8: Read 1\n:1 2\n8:0 Read -1\n8:0 AVeryLongOperationName 3\n", &list);
  CHECK(list.items.empty());
}

TEST_CASE("stats: io.stat") {
  Stats s;
  lc::ParseIoStat(
      "254:1 rbytes=6901432320 wbytes=14245535744 rios=263278 wios=248603 dbytes=0 dios=0\n"
      "254:0 \n8:16 8:0 rbytes=5 wbytes=6 rios=7 wios=8 cost.usage=9\n",
      &s);
  REQUIRE(s.blkio.service_bytes.items.size() == 4);
  REQUIRE(s.blkio.serviced.items.size() == 4);
  CHECK(s.blkio.service_bytes.items[0].op == "Read");
  CHECK(s.blkio.service_bytes.items[0].value == 6901432320);
  CHECK(s.blkio.service_bytes.items[2].major == 8);
  CHECK(s.blkio.service_bytes.items[2].minor == 0);
  CHECK(s.blkio.serviced.items[3].op == "Write");
  CHECK(s.blkio.serviced.items[3].value == 8);
  lc::ParseIoStat("rbytes=1\n8:x rbytes=1\n=\n8:0 rbytes\n8:0 rbytes=x wbytes=2\n", &s);
  REQUIRE(s.blkio.service_bytes.items.size() == 1);
  CHECK(s.blkio.service_bytes.items[0].value == 2);
  CHECK(s.blkio.serviced.present);
}

TEST_CASE("stats: pressure") {
  lc::Pressure psi;
  lc::ParsePressure(
      "some avg10=1.71 avg60=2.36 avg300=2.57 total=230548833\nfull avg10=0.00 avg60=100.00 avg300=1.01 "
      "total=157622356\n",
      &psi);
  REQUIRE(psi.some);
  REQUIRE(psi.full);
  CHECK(psi.some->avg10 == 1.71);
  CHECK(psi.some->avg60 == 2.36);
  CHECK(psi.some->avg300 == 2.57);
  CHECK(psi.some->total == 230548833);
  CHECK(psi.full->avg60 == 100.0);
  lc::ParsePressure("some avg10=1.71 avg60=2.36 avg300=2.57 total=1\n", &psi);
  CHECK(psi.some);
  CHECK(!psi.full);
  for (const char* text :
       {"", "some\n", "some avg10=1\n", "some avg10=x avg60=1 avg300=1 total=1\n",
        "some avg10=1.1.1 avg60=1 avg300=1 total=1\n", "some avg10=1.12345678 avg60=1 avg300=1 total=1",
        "some =\n", "some avg10 avg60=1\n"}) {
    lc::ParsePressure(text, &psi);
    CHECK_FALSE(psi.present());
  }
}

TEST_CASE("stats: rdma and misc") {
  lc::FigureList<lc::RdmaEntry> rdma;
  lc::ParseRdma("mlx4_0 hca_handle=2 hca_object=max\nocrdma1 hca_handle=max\n\n", &rdma);
  REQUIRE(rdma.items.size() == 2);
  CHECK(rdma.items[0].hca_handles.value == 2);
  CHECK(rdma.items[0].hca_objects.state == Limit::State::kNone);
  CHECK(rdma.items[1].hca_objects.state == Limit::State::kUnknown);
  lc::FigureList<lc::MiscEntry> misc;
  lc::ParseMiscCurrent("res_a 3\nres_b 0\n", &misc);
  lc::ParseMiscMax("res_a max\nres_b 4\nres_c 5\n", &misc);
  lc::ParseMiscEvents("res_a.max 1\nres_b.other 2\n.max 3\n", &misc);
  REQUIRE(misc.items.size() == 2);
  CHECK(misc.items[0].usage == 3);
  CHECK(misc.items[0].limit.state == Limit::State::kNone);
  CHECK(misc.items[0].events == 1);
  CHECK(misc.items[1].limit.value == 4);
  CHECK(!misc.items[1].events);
}

TEST_CASE("stats: page sizes as the cgroup files name them") {
  lc_test::Tree tree;
  for (const char* name :
       {"hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "other", "hugepages-kB"}) {
    tree.Dir(name);
  }
  CHECK(lc::HugePageSizesIn(tree.path) == std::vector<std::string>{"64KB", "2MB", "1GB"});
  CHECK(lc::HugePageSizesIn(tree.path + "/none").empty());
}
