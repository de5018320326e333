// What a handle reads that is more than one file and one value: blkio, hugetlb, the freezer, pids.
#include <unistd.h>

#include <cstdio>

#include "cgroup/handle.h"
#include "cgroup/pids.h"
#include "cgroup/scan.h"
#include "cgroup/stats/parse.h"

namespace lc {

bool CgroupHandle::ReadBlkio(StatsScratch* scratch, Stats* out) {
  if (At(StatPlace::kBlkio) == nullptr) return true;
  std::span<const BlkioFile> files = BlkioFiles();
  size_t base = PlainStatFiles().size();
  // Whatever set is there says that there was no input or output, should none say more.
  std::span<const uint8_t> silent;
  std::string_view text;
  for (std::span<const uint8_t> set : BlkioSets()) {
    bool complete = true;
    for (size_t i = 0; i < set.size(); ++i) {
      const BlkioFile& file = files[set[i]];
      Outcome outcome = ReadSlot(base + set[i], StatPlace::kBlkio, file.name, scratch, &text);
      if (outcome == Outcome::kGone || outcome == Outcome::kFailed) return false;
      complete = outcome == Outcome::kText;
      if (!complete) break;
      FigureList<BlkioEntry>* table = file.table(out);
      ParseBlkio(text, table);
      if (i == 0 && table->items.empty()) {
        table->Clear();
        if (silent.empty()) silent = set;
        complete = false;
        break;
      }
    }
    if (complete) return true;
    for (uint8_t index : set) files[index].table(out)->Clear();
  }
  for (uint8_t index : silent) files[index].table(out)->present = true;
  return true;
}

bool CgroupHandle::ReadHugetlb(StatsScratch* scratch, Stats* out) {
  bool v1 = At(StatPlace::kHugetlb) != nullptr;
  if (!v1 && At(StatPlace::kV2Hugetlb) == nullptr) return true;
  std::span<const HugetlbFile> files = HugetlbFiles();
  size_t slot = PlainStatFiles().size() + BlkioFiles().size();
  for (const std::string& size : HugePageSizes()) {
    HugetlbEntry entry;
    bool reserved = false;
    bool any = false;
    for (size_t i = 0; i < files.size(); ++i, ++slot) {
      const HugetlbFile& file = files[i];
      if (file.v2 == v1) continue;
      // The figures of reserved pages where the kernel has them (5.7); v2 counts failures in one file for
      // both.
      if (reserved && !file.rsvd && file.figure != HugetlbFigure::kFailcnt) continue;
      if (reserved && v1 && !file.rsvd) continue;
      char name[64];
      snprintf(name, sizeof name, "hugetlb.%s%s", size.c_str(), file.suffix);
      std::string_view text;
      StatPlace place = v1 ? StatPlace::kHugetlb : StatPlace::kV2Hugetlb;
      Outcome outcome = ReadSlot(slot, place, name, scratch, &text);
      if (outcome == Outcome::kGone || outcome == Outcome::kFailed) return false;
      if (outcome != Outcome::kText) continue;
      Figure value =
          file.v2 && file.figure == HugetlbFigure::kFailcnt ? ScanKeyed(text, "max") : ScanU64(text);
      any = any || value.has_value();
      if (file.rsvd && file.figure == HugetlbFigure::kUsage) reserved = value.has_value();
      if (file.figure == HugetlbFigure::kUsage) entry.usage = value;
      if (file.figure == HugetlbFigure::kMax) entry.max = value;
      if (file.figure == HugetlbFigure::kFailcnt) entry.failcnt = value;
    }
    if (any) {
      entry.size = size;
      out->hugetlb.push_back(std::move(entry));
    }
  }
  return true;
}

CgroupHandle::Outcome CgroupHandle::ReadV1Freezer(StatsScratch* scratch, Freezer* out) {
  size_t base = files_.size() - kFreezerSlots;
  std::string_view text;
  Outcome outcome = ReadSlot(base + kFreezerState, StatPlace::kFreezer, "freezer.state", scratch, &text);
  if (outcome != Outcome::kText) return outcome;
  auto state = ParseFreezerState(text);
  if (!state) {
    error_ = Error::Coded("ERR_STATE_CORRUPT", "not a freezer state",
                          *At(StatPlace::kFreezer)->path + "/freezer.state");
    return Outcome::kFailed;
  }
  out->state = *state;
  out->self = *state != FreezerState::kThawed;
  if (!out->self) return outcome;
  // Before Linux 3.8 there was no such file and no freezing by an ancestor either.
  Outcome self = ReadSlot(base + kFreezerSelf, StatPlace::kFreezer, "freezer.self_freezing", scratch, &text);
  if (self == Outcome::kAbsent) return Outcome::kText;
  if (self == Outcome::kText) out->self = ParseFlag(text).value_or(true);
  return self;
}

Result<Freezer> CgroupHandle::ReadFreezerState() {
  std::lock_guard lock(mutex_);
  Touch();
  error_ = {};
  keep_ = SIZE_MAX;
  gone_ = false;
  ForgetAbsences();
  Freezer out;
  StatsScratch scratch;
  scratch.buffer.resize(512);
  bool v1 = At(StatPlace::kFreezer) != nullptr;
  Directory* directory = At(v1 ? StatPlace::kFreezer : StatPlace::kV2Freezer);
  Error unsupported = Error::Coded("ERR_UNSUPPORTED", "no freezer: not mounted, or Linux before 5.2");
  if (directory == nullptr) return unsupported;
  Outcome outcome = Outcome::kAbsent;
  if (v1) {
    outcome = ReadV1Freezer(&scratch, &out);
  } else {
    size_t base = files_.size() - kFreezerSlots;
    std::string_view text;
    outcome = ReadSlot(base + kV2Freeze, StatPlace::kV2Freezer, "cgroup.freeze", &scratch, &text);
    std::string freeze(outcome == Outcome::kText ? text : std::string_view());
    if (outcome == Outcome::kText) {
      outcome = ReadSlot(base + kV2Events, StatPlace::kV2Freezer, "cgroup.events", &scratch, &text);
    }
    if (outcome == Outcome::kText) {
      auto parsed = ParseFreezerV2(freeze, text);
      if (parsed) {
        out = *parsed;
      } else {
        outcome = Outcome::kFailed;
        error_ =
            Error::Coded("ERR_STATE_CORRUPT", "not a freezer state", *directory->path + "/cgroup.freeze");
      }
    }
  }
  if (outcome == Outcome::kGone || outcome == Outcome::kFailed || !Leave(directory)) {
    return Failure(*directory).error();
  }
  if (outcome == Outcome::kAbsent) return unsupported;
  return out;
}

Status CgroupHandle::ReadPids(std::vector<pid_t>* out) {
  std::lock_guard lock(mutex_);
  Touch();
  out->clear();
  error_ = {};
  gone_ = false;
  if (pids_directory_ == kNowhere) return Error::Coded("ERR_UNSUPPORTED", "no hierarchy lists the processes");
  Directory& directory = directories_[static_cast<size_t>(pids_directory_)];
  if (directory.fd < 0 && !OpenDirectory(&directory)) return Failure(directory);
  Status status = ReadPidsBelow(directory.fd, *directory.path, pids_v2_, out);
  for (int attempt = 0; !status && attempt < 2; ++attempt) {
    if (status.error().err != EMFILE && status.error().err != ENFILE) break;
    if (!budget_->Relieve(this)) break;
    status = ReadPidsBelow(directory.fd, *directory.path, pids_v2_, out);
  }
  Settle(&directory, status.ok());
  if (!status && status.error().code != nullptr && IsThere(directory)) {
    // Not by this descriptor any more, but it is there.
    if (directory.kept) budget_->Release(1);
    if (directory.fd >= 0) close(directory.fd);
    directory.fd = -1;
    directory.kept = false;
    if (!OpenDirectory(&directory)) return Failure(directory);
    status = ReadPidsBelow(directory.fd, *directory.path, pids_v2_, out);
    CloseUnkept(&directory);
  }
  if (!status) out->clear();
  return status;
}

}  // namespace lc
