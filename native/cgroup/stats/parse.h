// Parsers of the kernel's statistics files: text in, figures out, pure. Garbage leaves a figure unknown; a
// line that makes no sense is passed over, since newer kernels add lines.
#pragma once

#include <memory>
#include <string_view>

#include "cgroup/stats/stats.h"

namespace lc {

// v1 has no word for "no limit": the largest number of whole pages stands for it, which page size it may be.
inline constexpr uint64_t kV1Unlimited = 0x7FFFFFFFFFFF0000;

Limit ParseLimitV1(std::string_view text);
Limit ParseLimitV2(std::string_view text);  // a number or "max"; pids.max of v1 too

// "0-3,7": ascending, as the kernel prints it.
void ParseIdList(std::string_view text, FigureList<uint16_t>* out);

// `keys` is what an earlier call left there, or null; it is replaced only when the kernel's keys differ.
void ParseMemoryStat(std::string_view text, std::shared_ptr<const KeyList>* keys,
                     std::vector<uint64_t>* values);
Figure MemoryStatValue(const Stats& stats, std::string_view key);

void ParsePercpu(std::string_view text, FigureList<uint64_t>* out);        // cpuacct.usage_percpu
void ParseUsageAll(std::string_view text, Stats* stats);                   // cpuacct.usage_all
void ParseCpuacctStat(std::string_view text, Stats* stats);                // ticks -> ns
void ParseCpuStatV1(std::string_view text, Stats* stats);                  // throttling
void ParseCpuStatV2(std::string_view text, Stats* stats);                  // usage and throttling, us -> ns
void ParseBlkio(std::string_view text, FigureList<BlkioEntry>* out);       // blkio.*
void ParseIoStat(std::string_view text, Stats* stats);                     // io.stat
void ParsePressure(std::string_view text, Pressure* out);                  // *.pressure
void ParseRdma(std::string_view text, FigureList<RdmaEntry>* out);         // rdma.current, rdma.max
void ParseMiscCurrent(std::string_view text, FigureList<MiscEntry>* out);  // first; the other two only add
void ParseMiscMax(std::string_view text, FigureList<MiscEntry>* out);
void ParseMiscEvents(std::string_view text, FigureList<MiscEntry>* out);

}  // namespace lc
