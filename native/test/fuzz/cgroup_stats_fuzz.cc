// Every parser of a statistics file, on any text: no crash, no runaway, and lists no longer than the text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cgroup/scan.h"
#include "cgroup/stats/files.h"
#include "cgroup/stats/parse.h"
#include "cgroup/update/json_text.h"
#include "test/cgroup_stats_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  lc::Stats stats;
  lc::StatsScratch scratch;
  // The first byte chooses a file; the text is read as that, and twice, as a handle does.
  auto files = lc::PlainStatFiles();
  auto blkio = lc::BlkioFiles();
  size_t choice = data[0] % (files.size() + 1);
  for (int round = 0; round < 2; ++round) {
    if (choice < files.size()) {
      files[choice].apply(text, &stats, &scratch);
    } else {
      lc::ParseBlkio(text, blkio[0].table(&stats));
    }
    lc::ParseMiscMax(text, &stats.misc);
    lc::ParseMiscEvents(text, &stats.misc);
  }
  (void)lc::ScanI64(text);
  (void)lc::ScanKeyed(text, "oom_kill");
  if (stats.cpuset.cpus.items.size() > 65536) abort();
  if (!lc::IsJson(lc_test::StatsJson(stats))) abort();
  stats.Clear();
  return 0;
}
