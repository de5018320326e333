// Parsers of the kernel's statistics files: text in, figures out, pure.
#include "cgroup/stats/parse.h"

#include "cgroup/scan.h"

namespace lc {
namespace {

// USER_HZ is 100 on every architecture that this package supports.
constexpr uint64_t kNsPerTick = 10'000'000;

Figure Times(Figure value, uint64_t factor) {
  if (!value || *value > UINT64_MAX / factor) return std::nullopt;
  return *value * factor;
}

// "key value" lines; calls back with each that is whole.
template <typename F>
void ForEachKeyed(std::string_view text, F each) {
  Scanner scan(text);
  while (!scan.done()) {
    std::string_view key = scan.TakeWord();
    scan.SkipBlanks();
    auto value = scan.TakeU64();
    if (!key.empty() && value && (scan.done() || scan.peek() == '\n')) each(key, *value);
    scan.SkipLine();
  }
}

// "12.34" exactly as strtod has it: both halves are small integers, so one division rounds once.
std::optional<double> TakeDecimal(Scanner* scan) {
  auto whole = scan->TakeU64();
  if (!whole || *whole > 1'000'000'000) return std::nullopt;
  uint64_t digits = *whole;
  uint64_t scale = 1;
  if (scan->Take('.')) {
    while (scan->peek() >= '0' && scan->peek() <= '9') {
      if (scale >= 1'000'000) return std::nullopt;
      digits = digits * 10 + static_cast<uint64_t>(scan->peek() - '0');
      scale *= 10;
      scan->Take(scan->peek());
    }
  }
  return static_cast<double>(digits) / static_cast<double>(scale);
}

std::optional<PressureLine> TakePressureLine(std::string_view line) {
  PressureLine out;
  Scanner scan(line);
  int seen = 0;
  while (true) {
    scan.SkipBlanks();
    if (scan.done()) break;
    std::string_view key = scan.TakeWord('=');
    if (!scan.Take('=')) return std::nullopt;
    double* real = key == "avg10"    ? &out.avg10
                   : key == "avg60"  ? &out.avg60
                   : key == "avg300" ? &out.avg300
                                     : nullptr;
    if (real != nullptr) {
      auto value = TakeDecimal(&scan);
      if (!value) return std::nullopt;
      *real = *value;
      ++seen;
    } else if (key == "total") {
      auto value = scan.TakeU64();
      if (!value) return std::nullopt;
      out.total = *value;
      ++seen;
    } else {
      scan.TakeWord();
    }
  }
  // All four or none: half a line is no figure.
  if (seen != 4) return std::nullopt;
  return out;
}

bool TakeDevice(Scanner* scan, uint64_t* major, uint64_t* minor) {
  auto first = scan->TakeU64();
  if (!first || !scan->Take(':')) return false;
  auto second = scan->TakeU64();
  if (!second) return false;
  *major = *first;
  *minor = *second;
  return true;
}

MiscEntry* FindMisc(FigureList<MiscEntry>* list, std::string_view name) {
  for (MiscEntry& entry : list->items) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace

void Stats::Clear() {
  // The lists keep their memory, everything else is as new.
  auto keep = [](auto&... lists) { (lists.Clear(), ...); };
  keep(cpu.percpu, cpu.percpu_kernel, cpu.percpu_user, cpuset.cpus, cpuset.mems);
  keep(blkio.service_bytes, blkio.serviced, blkio.queued, blkio.service_time, blkio.wait_time, blkio.merged,
       blkio.time, blkio.sectors, rdma_current, rdma_limit, misc);
  timestamp_ns = 0;
  cpu.total = cpu.kernel = cpu.user = std::nullopt;
  cpu.periods = cpu.throttled_periods = cpu.throttled_time = std::nullopt;
  cpu.psi = memory.psi = blkio.psi = Pressure{};
  cpuset.cpu_exclusive = cpuset.mem_hardwall = cpuset.mem_exclusive = cpuset.memory_migrate = std::nullopt;
  cpuset.memory_spread_page = cpuset.memory_spread_slab = cpuset.memory_pressure = std::nullopt;
  cpuset.sched_load_balance = std::nullopt;
  cpuset.sched_relax_domain_level = std::nullopt;
  memory.cache = std::nullopt;
  memory.usage = memory.swap = memory.kernel = memory.kernel_tcp = MemoryEntry{};
  memory.raw_keys.reset();
  memory.raw_values.clear();
  pids.current = std::nullopt;
  pids.limit = Limit{};
  hugetlb.clear();
}

Limit ParseLimitV1(std::string_view text) {
  auto value = ScanU64(text);
  if (!value) return {};
  return *value >= kV1Unlimited ? Limit::None() : Limit::Of(*value);
}

Limit ParseLimitV2(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (text == "max") return Limit::None();
  auto value = ScanU64(text);
  return value ? Limit::Of(*value) : Limit{};
}

void ParseIdList(std::string_view text, FigureList<uint16_t>* out) {
  out->Clear();
  Scanner scan(text);
  uint64_t least = 0;  // ascending, so that a hostile text cannot name an id twice and fill the memory
  while (scan.peek() >= '0' && scan.peek() <= '9') {
    auto first = scan.TakeU64();
    auto last = first;
    if (scan.Take('-')) last = scan.TakeU64();
    if (!first || !last || *first < least || *last < *first || *last > UINT16_MAX) return out->Clear();
    for (uint64_t id = *first; id <= *last; ++id) out->items.push_back(static_cast<uint16_t>(id));
    least = *last + 1;
    if (!scan.Take(',')) break;
  }
  while (scan.Take('\n')) {
  }
  if (!scan.done()) return out->Clear();
  out->present = true;
}

void ParseMemoryStat(std::string_view text, std::shared_ptr<const KeyList>* keys,
                     std::vector<uint64_t>* values) {
  values->clear();
  size_t index = 0;
  bool same = *keys != nullptr;
  ForEachKeyed(text, [&](std::string_view key, uint64_t value) {
    same = same && index < (*keys)->size() && (**keys)[index] == key;
    ++index;
    values->push_back(value);
  });
  if (same && index == (*keys)->size()) return;
  auto fresh = std::make_shared<KeyList>();
  fresh->reserve(index);
  ForEachKeyed(text, [&](std::string_view key, uint64_t) { fresh->emplace_back(key); });
  *keys = std::move(fresh);
}

Figure MemoryStatValue(const Stats& stats, std::string_view key) {
  if (!stats.memory.raw_keys) return std::nullopt;
  const KeyList& keys = *stats.memory.raw_keys;
  for (size_t i = 0; i < keys.size() && i < stats.memory.raw_values.size(); ++i) {
    if (keys[i] == key) return stats.memory.raw_values[i];
  }
  return std::nullopt;
}

void ParsePercpu(std::string_view text, FigureList<uint64_t>* out) {
  out->Clear();
  Scanner scan(text);
  scan.SkipBlanks();
  while (auto value = scan.TakeU64()) {
    out->items.push_back(*value);
    scan.SkipBlanks();
  }
  while (scan.Take('\n')) {
  }
  if (!scan.done() || out->items.empty()) return out->Clear();
  out->present = true;
}

void ParseUsageAll(std::string_view text, Stats* stats) {
  auto& kernel = stats->cpu.percpu_kernel;
  auto& user = stats->cpu.percpu_user;
  kernel.Clear();
  user.Clear();
  Scanner scan(text);
  if (scan.TakeLine() != "cpu user system") return;
  while (!scan.done()) {
    auto cpu = scan.TakeU64();
    scan.SkipBlanks();
    auto in_user = scan.TakeU64();
    scan.SkipBlanks();
    auto in_kernel = scan.TakeU64();
    if (!cpu || !in_user || !in_kernel || (!scan.done() && !scan.Take('\n'))) {
      kernel.Clear();
      return user.Clear();
    }
    user.items.push_back(*in_user);
    kernel.items.push_back(*in_kernel);
  }
  kernel.present = user.present = !user.items.empty();
}

void ParseCpuacctStat(std::string_view text, Stats* stats) {
  stats->cpu.user = Times(ScanKeyed(text, "user"), kNsPerTick);
  stats->cpu.kernel = Times(ScanKeyed(text, "system"), kNsPerTick);
}

void ParseCpuStatV1(std::string_view text, Stats* stats) {
  ForEachKeyed(text, [&](std::string_view key, uint64_t value) {
    if (key == "nr_periods") stats->cpu.periods = value;
    if (key == "nr_throttled") stats->cpu.throttled_periods = value;
    if (key == "throttled_time") stats->cpu.throttled_time = value;
  });
}

void ParseCpuStatV2(std::string_view text, Stats* stats) {
  ForEachKeyed(text, [&](std::string_view key, uint64_t value) {
    if (key == "usage_usec") stats->cpu.total = Times(value, 1000);
    if (key == "user_usec") stats->cpu.user = Times(value, 1000);
    if (key == "system_usec") stats->cpu.kernel = Times(value, 1000);
    if (key == "nr_periods") stats->cpu.periods = value;
    if (key == "nr_throttled") stats->cpu.throttled_periods = value;
    if (key == "throttled_usec") stats->cpu.throttled_time = Times(value, 1000);
  });
}

void ParseBlkio(std::string_view text, FigureList<BlkioEntry>* out) {
  out->Clear();
  out->present = true;
  Scanner scan(text);
  while (!scan.done()) {
    uint64_t major = 0;
    uint64_t minor = 0;
    // The last line is "Total N", for which there is no device.
    if (TakeDevice(&scan, &major, &minor)) {
      scan.SkipBlanks();
      std::string_view op;
      if (scan.peek() < '0' || scan.peek() > '9') op = scan.TakeWord();
      scan.SkipBlanks();
      auto value = scan.TakeU64();
      // Fifteen characters are what std::string holds without allocating; the kernel's longest is "Discard".
      if (value && op.size() <= 15) out->items.push_back({major, minor, std::string(op), *value});
    }
    scan.SkipLine();
  }
}

void ParseIoStat(std::string_view text, Stats* stats) {
  stats->blkio.service_bytes.Clear();
  stats->blkio.serviced.Clear();
  stats->blkio.service_bytes.present = stats->blkio.serviced.present = true;
  Scanner scan(text);
  while (!scan.done()) {
    uint64_t major = 0;
    uint64_t minor = 0;
    bool has_device = false;
    while (!scan.done() && scan.peek() != '\n') {
      scan.SkipBlanks();
      // Some kernels print a device without figures and then the next on the same line.
      if (scan.peek() >= '0' && scan.peek() <= '9') {
        has_device = TakeDevice(&scan, &major, &minor);
        if (!has_device) break;
        continue;
      }
      std::string_view key = scan.TakeWord('=');
      if (!scan.Take('=')) {
        if (key.empty()) break;
        continue;
      }
      auto value = scan.TakeU64();
      if (!value) {
        scan.TakeWord();
        continue;
      }
      bool read = key == "rbytes" || key == "rios";
      if (!has_device || !(read || key == "wbytes" || key == "wios")) continue;
      auto& table = key.ends_with("bytes") ? stats->blkio.service_bytes : stats->blkio.serviced;
      table.items.push_back({major, minor, read ? "Read" : "Write", *value});
    }
    scan.SkipLine();
  }
}

void ParsePressure(std::string_view text, Pressure* out) {
  *out = {};
  Scanner scan(text);
  while (!scan.done()) {
    std::string_view line = scan.TakeLine();
    if (line.starts_with("some ")) out->some = TakePressureLine(line.substr(5));
    if (line.starts_with("full ")) out->full = TakePressureLine(line.substr(5));
  }
}

void ParseRdma(std::string_view text, FigureList<RdmaEntry>* out) {
  out->Clear();
  out->present = true;
  Scanner scan(text);
  while (!scan.done()) {
    Scanner line(scan.TakeLine());
    RdmaEntry entry;
    entry.device = line.TakeWord();
    if (entry.device.empty()) continue;
    while (true) {
      line.SkipBlanks();
      if (line.done()) break;
      std::string_view key = line.TakeWord('=');
      if (!line.Take('=')) break;
      Limit value = ParseLimitV2(line.TakeWord());
      if (key == "hca_handle") entry.hca_handles = value;
      if (key == "hca_object") entry.hca_objects = value;
    }
    out->items.push_back(std::move(entry));
  }
}

void ParseMiscCurrent(std::string_view text, FigureList<MiscEntry>* out) {
  out->Clear();
  out->present = true;
  ForEachKeyed(text, [&](std::string_view key, uint64_t value) {
    MiscEntry entry;
    entry.name = key;
    entry.usage = value;
    out->items.push_back(std::move(entry));
  });
}

void ParseMiscMax(std::string_view text, FigureList<MiscEntry>* out) {
  Scanner scan(text);
  while (!scan.done()) {
    Scanner line(scan.TakeLine());
    MiscEntry* entry = FindMisc(out, line.TakeWord());
    line.SkipBlanks();
    if (entry != nullptr) entry->limit = ParseLimitV2(line.rest());
  }
}

void ParseMiscEvents(std::string_view text, FigureList<MiscEntry>* out) {
  ForEachKeyed(text, [&](std::string_view key, uint64_t value) {
    if (!key.ends_with(".max")) return;
    MiscEntry* entry = FindMisc(out, key.substr(0, key.size() - 4));
    if (entry != nullptr) entry->events = value;
  });
}

}  // namespace lc
