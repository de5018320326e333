// Writes changed limits into the text of runc's state.json.
#include "cgroup/update/record_patch.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "cgroup/scan.h"
#include "cgroup/update/json_text.h"

namespace lc {
namespace {

struct Change {
  const char* key;
  std::string value;
};

const JsonMember* FindMember(const std::vector<JsonMember>& members, std::string_view key) {
  const JsonMember* found = nullptr;
  for (const JsonMember& member : members) {
    // Go's decoder lets the last one win.
    if (member.key == key) found = &member;
  }
  return found;
}

// A list whose entries are told apart by `same`: those that the change names give way to it, the rest keep
// their text.
struct Entry {
  std::function<bool(const std::vector<JsonMember>&, std::string_view text)> same;
  std::string value;
};
std::string MergeList(std::string_view old, const std::vector<Entry>& changes) {
  std::vector<std::string> out;
  std::vector<bool> placed(changes.size(), false);
  auto spans = JsonArrayAt(old, 0);
  for (const JsonSpan& span : spans ? *spans : std::vector<JsonSpan>()) {
    std::string text(span.In(old));
    auto members = JsonObjectAt(old, span.begin);
    for (size_t i = 0; i < changes.size(); ++i) {
      if (members && changes[i].same(*members, old)) {
        text = changes[i].value;
        placed[i] = true;
      }
    }
    out.push_back(std::move(text));
  }
  for (size_t i = 0; i < changes.size(); ++i) {
    if (!placed[i]) out.push_back(changes[i].value);
  }
  std::string joined = "[";
  for (const std::string& text : out) joined += (joined.size() > 1 ? "," : "") + text;
  return joined + "]";
}

bool HasNumber(const std::vector<JsonMember>& members, std::string_view text, std::string_view key,
               int64_t value) {
  const JsonMember* member = FindMember(members, key);
  // Go leaves a zero out of some records.
  return member == nullptr ? value == 0 : ScanI64(member->value.In(text)) == value;
}

Entry DeviceEntry(int64_t major, int64_t minor, std::string value) {
  auto same = [major, minor](const std::vector<JsonMember>& members, std::string_view text) {
    return HasNumber(members, text, "major", major) && HasNumber(members, text, "minor", minor);
  };
  return {same, std::move(value)};
}

// Adds to an object, or puts in the place of its members, those given. `old` may be null or missing.
std::string MergeObject(std::string_view old,
                        const std::vector<std::pair<std::string, std::string>>& changes) {
  std::string out(old);
  for (const auto& [key, value] : changes) {
    auto members = JsonObjectAt(out, 0);
    if (!members) {
      out = "{";
      out += JsonQuote(key) + ":" + value + "}";
    } else if (const JsonMember* member = FindMember(*members, key)) {
      out.replace(member->value.begin, member->value.end - member->value.begin, value);
    } else {
      out.insert(out.rfind('}'), (members->empty() ? "" : ",") + JsonQuote(key) + ":" + value);
    }
  }
  return out;
}

class Changes {
 public:
  Changes(std::string_view text, const std::vector<JsonMember>& cgroups) : text_(text), cgroups_(cgroups) {}

  template <typename T>
  void Number(const char* key, const std::optional<T>& value) {
    if (value) list.push_back({key, std::to_string(*value)});
  }
  void Bool(const char* key, const std::optional<bool>& value) {
    if (value) list.push_back({key, *value ? "true" : "false"});
  }
  void Text(const char* key, const std::string& value) {
    if (!value.empty()) list.push_back({key, JsonQuote(value)});
  }
  void List(const char* key, const std::vector<Entry>& entries) {
    if (!entries.empty()) list.push_back({key, MergeList(Old(key), entries)});
  }
  void Object(const char* key, const std::vector<std::pair<std::string, std::string>>& members) {
    if (!members.empty()) list.push_back({key, MergeObject(Old(key), members)});
  }
  void Throttle(const char* key, const std::vector<Resources::ThrottleDevice>& devices) {
    std::vector<Entry> entries;
    for (const Resources::ThrottleDevice& d : devices) {
      entries.push_back(DeviceEntry(d.major, d.minor,
                                    "{\"major\":" + std::to_string(d.major) +
                                        ",\"minor\":" + std::to_string(d.minor) +
                                        ",\"rate\":" + std::to_string(d.rate) + "}"));
    }
    List(key, entries);
  }
  std::string_view Old(const char* key) const {
    const JsonMember* member = FindMember(cgroups_, key);
    return member == nullptr ? std::string_view() : member->value.In(text_);
  }

  std::vector<Change> list;

 private:
  std::string_view text_;
  const std::vector<JsonMember>& cgroups_;
};

void AddBlockIo(const Resources::BlockIo& b, Changes* changes) {
  changes->Number("blkio_weight", b.weight);
  changes->Number("blkio_leaf_weight", b.leaf_weight);
  std::vector<Entry> weights;
  for (const Resources::WeightDevice& d : b.weight_device) {
    weights.push_back(DeviceEntry(d.major, d.minor,
                                  "{\"major\":" + std::to_string(d.major) +
                                      ",\"minor\":" + std::to_string(d.minor) +
                                      ",\"weight\":" + std::to_string(d.weight.value_or(0)) +
                                      ",\"leafWeight\":" + std::to_string(d.leaf_weight.value_or(0)) + "}"));
  }
  changes->List("blkio_weight_device", weights);
  changes->Throttle("blkio_throttle_read_bps_device", b.throttle_read_bps);
  changes->Throttle("blkio_throttle_write_bps_device", b.throttle_write_bps);
  changes->Throttle("blkio_throttle_read_iops_device", b.throttle_read_iops);
  changes->Throttle("blkio_throttle_write_iops_device", b.throttle_write_iops);
}

void AddAll(const Resources& r, const PlanOptions& options, Changes* changes) {
  const Resources::Memory& m = r.memory;
  // What runc's own update records for the same request.
  std::optional<int64_t> swap = m.swap;
  if (m.limit == -1 && !swap) swap = -1;
  changes->Number("memory", m.limit);
  changes->Number("memory_reservation", m.reservation);
  changes->Number("memory_swap", swap);
  changes->Number("memory_swappiness", m.swappiness);
  changes->Bool("oom_kill_disable", m.disable_oom_killer);
  changes->Bool("memory_check_before_update", m.check_before_update);
  changes->Number("cpu_shares", r.cpu.shares);
  if (r.cpu.shares) {
    changes->Number("cpu_weight", std::optional<uint64_t>(SharesToWeight(*r.cpu.shares, options.shares)));
  }
  changes->Number("cpu_quota", r.cpu.quota);
  changes->Number("cpu_burst", r.cpu.burst);
  changes->Number("cpu_period", r.cpu.period);
  changes->Number("cpu_rt_quota", r.cpu.realtime_runtime);
  changes->Number("cpu_rt_period", r.cpu.realtime_period);
  changes->Number("cpu_idle", r.cpu.idle);
  changes->Text("cpuset_cpus", r.cpu.cpus);
  changes->Text("cpuset_mems", r.cpu.mems);
  changes->Number("pids_limit", r.pids_limit);
  AddBlockIo(r.block_io, changes);

  std::vector<Entry> pages;
  for (const Resources::HugepageLimit& limit : r.hugepage_limits) {
    std::string quoted = JsonQuote(limit.page_size);
    auto same = [quoted](const std::vector<JsonMember>& members, std::string_view text) {
      const JsonMember* size = FindMember(members, "page_size");
      return size != nullptr && size->value.In(text) == quoted;
    };
    pages.push_back({same, "{\"page_size\":" + quoted + ",\"limit\":" + std::to_string(limit.limit) + "}"});
  }
  changes->List("hugetlb_limit", pages);

  std::vector<std::pair<std::string, std::string>> rdma;
  for (const Resources::Rdma& device : r.rdma) {
    std::vector<std::pair<std::string, std::string>> limits;
    if (device.hca_handles) limits.emplace_back("hca_handles", std::to_string(*device.hca_handles));
    if (device.hca_objects) limits.emplace_back("hca_objects", std::to_string(*device.hca_objects));
    std::string_view old = changes->Old("rdma");
    auto members = JsonObjectAt(old, 0);
    const JsonMember* same = members ? FindMember(*members, device.device) : nullptr;
    if (!limits.empty()) {
      rdma.emplace_back(device.device, MergeObject(same == nullptr ? "" : same->value.In(old), limits));
    }
  }
  changes->Object("rdma", rdma);

  std::vector<std::pair<std::string, std::string>> unified;
  for (const Resources::Unified& entry : r.unified) unified.emplace_back(entry.key, JsonQuote(entry.value));
  changes->Object("unified", unified);
}

}  // namespace

Result<RuncRecord> RuncRecord::Parse(std::string state_json, const std::string& path) {
  std::vector<JsonMember> root;
  auto cgroups = FindJsonObject(state_json, {"config", "cgroups"}, &root);
  if (!cgroups) return Error::Coded("ERR_STATE_CORRUPT", "no config.cgroups in the runtime's record", path);
  const JsonMember* pid = FindMember(root, "init_process_pid");
  auto init_pid = pid == nullptr ? std::nullopt : ScanI64(pid->value.In(state_json));
  return RuncRecord(std::move(state_json), std::move(*cgroups), init_pid);
}

std::optional<int64_t> RuncRecord::Number(const char* key) const {
  const JsonMember* member = FindMember(cgroups_.members, key);
  return member == nullptr ? std::nullopt : ScanI64(member->value.In(text_));
}

std::string RuncRecord::Patch(const Resources& resources, const PlanOptions& options) const {
  const std::vector<JsonMember>& members = cgroups_.members;
  Changes changes(text_, members);
  AddAll(resources, options, &changes);

  struct Edit {
    JsonSpan place;
    std::string text;
  };
  std::vector<Edit> edits;
  std::string added;
  for (Change& change : changes.list) {
    if (const JsonMember* member = FindMember(members, change.key)) {
      edits.push_back({member->value, std::move(change.value)});
    } else {
      added += (members.empty() && added.empty() ? "" : ",") + JsonQuote(change.key) + ":" + change.value;
    }
  }
  if (!added.empty()) {
    // Right behind the last member, before any blank that precedes the bracket.
    size_t end = members.empty() ? cgroups_.span.begin + 1 : members.back().value.end;
    edits.push_back({{end, end}, std::move(added)});
  }
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.place.begin < b.place.begin; });
  std::string out;
  out.reserve(text_.size() + 256);
  std::string_view text = text_;
  size_t at = 0;
  for (const Edit& edit : edits) {
    out += text.substr(at, edit.place.begin - at);
    out += edit.text;
    at = edit.place.end;
  }
  out += text.substr(at);
  return out;
}

}  // namespace lc
