// Resources from JSON, the same text that `runc update -r -` takes.
#include "cgroup/update/resources_json.h"

#include <cmath>
#include <concepts>
#include <limits>
#include <string>

#include "core/json.h"

namespace lc {
namespace {

constexpr const char* kType = "ERR_INVALID_ARG_TYPE";
constexpr const char* kValue = "ERR_INVALID_ARG_VALUE";

// Reads the fields of one object. The first error is kept and ends the reading.
class Fields {
 public:
  Fields(const JsonValue& object, std::string prefix, Error* error)
      : object_(object), prefix_(std::move(prefix)), error_(error) {
    if (!object.IsObject()) Fail(kType, prefix_, "must be an object");
  }

  bool ok() const { return error_->code == nullptr; }
  std::string Path(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  }
  void Fail(const char* code, const std::string& field, const std::string& what) {
    if (ok()) *error_ = Error::Coded(code, field + " " + what, field);
  }
  Error* error() { return error_; }

  // Every name that the object may have goes through here once; Finish() refuses the rest.
  const JsonValue* Take(const char* name) {
    known_.emplace_back(name);
    return ok() ? Member(object_, name) : nullptr;
  }
  void Finish() {
    if (!ok()) return;
    for (auto it = object_.MemberBegin(); it != object_.MemberEnd(); ++it) {
      std::string_view name(it->name.GetString(), it->name.GetStringLength());
      bool found = false;
      for (const char* known : known_) found = found || name == known;
      if (!found) return Fail(kValue, Path(name), "is no field of linux.resources");
    }
  }

  template <std::integral T>
  void Integer(const JsonValue* value, const std::string& field, std::optional<T>* out) {
    if (value == nullptr || !ok()) return;
    if (!value->IsNumber()) return Fail(kType, field, "must be a whole number");
    std::string range = "must be a whole number from " + std::to_string(std::numeric_limits<T>::min()) +
                        " to " + std::to_string(std::numeric_limits<T>::max());
    if (value->IsInt64()) {
      if (!std::in_range<T>(value->GetInt64())) return Fail(kValue, field, range);
      *out = static_cast<T>(value->GetInt64());
    } else if (value->IsUint64()) {
      if (!std::in_range<T>(value->GetUint64())) return Fail(kValue, field, range);
      *out = static_cast<T>(value->GetUint64());
    } else {
      // JavaScript prints whole numbers from 1e21 on with an exponent; all of those are out of range.
      Fail(kValue, field, range);
    }
  }
  template <std::integral T>
  void Integer(const char* name, std::optional<T>* out) {
    Integer(Take(name), Path(name), out);
  }
  template <std::integral T>
  void RequiredInteger(const char* name, T* out) {
    std::optional<T> value;
    Integer(name, &value);
    if (!value) return Fail(kType, Path(name), "is missing");
    *out = *value;
  }
  void Bool(const char* name, std::optional<bool>* out) {
    const JsonValue* value = Take(name);
    if (value == nullptr) return;
    if (!value->IsBool()) return Fail(kType, Path(name), "must be true or false");
    *out = value->GetBool();
  }
  void String(const char* name, std::string* out) {
    const JsonValue* value = Take(name);
    if (value == nullptr) return;
    if (!value->IsString()) return Fail(kType, Path(name), "must be a string");
    out->assign(value->GetString(), value->GetStringLength());
    if (out->find('\0') != std::string::npos) Fail(kValue, Path(name), "must not hold a null character");
  }
  // Calls back with each element and its path.
  template <typename F>
  void Array(const char* name, F each) {
    const JsonValue* value = Take(name);
    if (value == nullptr) return;
    if (!value->IsArray()) return Fail(kType, Path(name), "must be an array");
    for (rapidjson::SizeType i = 0; i < value->Size() && ok(); ++i) {
      each((*value)[i], Path(name) + "[" + std::to_string(i) + "]");
    }
  }
  template <typename F>
  void Map(const char* name, F each) {
    const JsonValue* value = Take(name);
    if (value == nullptr) return;
    if (!value->IsObject()) return Fail(kType, Path(name), "must be an object");
    for (auto it = value->MemberBegin(); it != value->MemberEnd() && ok(); ++it) {
      std::string key(it->name.GetString(), it->name.GetStringLength());
      each(key, it->value, Path(name) + "." + key);
    }
  }

 private:
  const JsonValue& object_;
  std::string prefix_;
  Error* error_;
  std::vector<const char*> known_;
};

// -1 means no limit; other negative numbers mean nothing.
void AtLeastMinusOne(Fields* fields, const char* name, const std::optional<int64_t>& value) {
  if (value && *value < -1) fields->Fail(kValue, fields->Path(name), "must be -1 (no limit) or more");
}

void ParseMemory(const JsonValue& json, Resources::Memory* out, Error* error) {
  Fields fields(json, "memory", error);
  fields.Integer("limit", &out->limit);
  fields.Integer("reservation", &out->reservation);
  fields.Integer("swap", &out->swap);
  fields.Integer("kernel", &out->kernel);
  fields.Integer("kernelTCP", &out->kernel_tcp);
  fields.Integer("swappiness", &out->swappiness);
  fields.Bool("disableOOMKiller", &out->disable_oom_killer);
  fields.Bool("useHierarchy", &out->use_hierarchy);
  fields.Bool("checkBeforeUpdate", &out->check_before_update);
  AtLeastMinusOne(&fields, "limit", out->limit);
  AtLeastMinusOne(&fields, "reservation", out->reservation);
  AtLeastMinusOne(&fields, "swap", out->swap);
  AtLeastMinusOne(&fields, "kernel", out->kernel);
  AtLeastMinusOne(&fields, "kernelTCP", out->kernel_tcp);
  if (out->swappiness && *out->swappiness > 100)
    fields.Fail(kValue, "memory.swappiness", "must be from 0 to 100");
  fields.Finish();
}

// A list of CPUs or memory nodes: what the kernel would refuse with EINVAL anyway is left to the kernel, but
// nothing that could be two writes.
void CheckList(Fields* fields, const char* name, const std::string& list) {
  for (char c : list) {
    if ((c >= '0' && c <= '9') || c == ',' || c == '-' || c == ':' || c == '/' || c == ' ') continue;
    return fields->Fail(kValue, fields->Path(name), "must be a list like \"0-3,7\"");
  }
}

void ParseCpu(const JsonValue& json, Resources::Cpu* out, Error* error) {
  Fields fields(json, "cpu", error);
  fields.Integer("shares", &out->shares);
  fields.Integer("quota", &out->quota);
  fields.Integer("burst", &out->burst);
  fields.Integer("period", &out->period);
  fields.Integer("realtimeRuntime", &out->realtime_runtime);
  fields.Integer("realtimePeriod", &out->realtime_period);
  fields.String("cpus", &out->cpus);
  fields.String("mems", &out->mems);
  fields.Integer("idle", &out->idle);
  CheckList(&fields, "cpus", out->cpus);
  CheckList(&fields, "mems", out->mems);
  if (out->idle && *out->idle != 0 && *out->idle != 1) fields.Fail(kValue, "cpu.idle", "must be 0 or 1");
  fields.Finish();
}

void ParseThrottle(Fields* fields, const char* name, std::vector<Resources::ThrottleDevice>* out) {
  fields->Array(name, [&](const JsonValue& item, const std::string& path) {
    Fields device(item, path, fields->error());
    Resources::ThrottleDevice parsed;
    device.RequiredInteger("major", &parsed.major);
    device.RequiredInteger("minor", &parsed.minor);
    device.RequiredInteger("rate", &parsed.rate);
    if (parsed.major < 0 || parsed.minor < 0) device.Fail(kValue, path, "must be the number of a device");
    device.Finish();
    out->push_back(parsed);
  });
}

void ParseBlockIo(const JsonValue& json, Resources::BlockIo* out, Error* error) {
  Fields fields(json, "blockIO", error);
  fields.Integer("weight", &out->weight);
  fields.Integer("leafWeight", &out->leaf_weight);
  auto check = [&](const std::optional<uint16_t>& weight, const std::string& path) {
    if (weight && *weight != 0 && (*weight < 10 || *weight > 1000))
      fields.Fail(kValue, path, "must be from 10 to 1000");
  };
  check(out->weight, "blockIO.weight");
  check(out->leaf_weight, "blockIO.leafWeight");
  fields.Array("weightDevice", [&](const JsonValue& item, const std::string& path) {
    Fields device(item, path, error);
    Resources::WeightDevice parsed;
    device.RequiredInteger("major", &parsed.major);
    device.RequiredInteger("minor", &parsed.minor);
    device.Integer("weight", &parsed.weight);
    device.Integer("leafWeight", &parsed.leaf_weight);
    if (parsed.major < 0 || parsed.minor < 0) device.Fail(kValue, path, "must be the number of a device");
    check(parsed.weight, path + ".weight");
    check(parsed.leaf_weight, path + ".leafWeight");
    device.Finish();
    out->weight_device.push_back(parsed);
  });
  ParseThrottle(&fields, "throttleReadBpsDevice", &out->throttle_read_bps);
  ParseThrottle(&fields, "throttleWriteBpsDevice", &out->throttle_write_bps);
  ParseThrottle(&fields, "throttleReadIOPSDevice", &out->throttle_read_iops);
  ParseThrottle(&fields, "throttleWriteIOPSDevice", &out->throttle_write_iops);
  fields.Finish();
}

// "2MB", "1GB", "64KB": it becomes part of a file name, so nothing else will do.
bool IsPageSize(std::string_view text) {
  if (text.size() < 3 || text.size() > 22 || !text.ends_with('B')) return false;
  char unit = text[text.size() - 2];
  if (unit != 'K' && unit != 'M' && unit != 'G') return false;
  if (text.front() < '1' || text.front() > '9') return false;
  for (char c : text.substr(0, text.size() - 2)) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

void ParseRest(Fields* root, Resources* out) {
  root->Array("hugepageLimits", [&](const JsonValue& item, const std::string& path) {
    Fields fields(item, path, root->error());
    Resources::HugepageLimit parsed;
    fields.String("pageSize", &parsed.page_size);
    fields.RequiredInteger("limit", &parsed.limit);
    if (!IsPageSize(parsed.page_size))
      fields.Fail(kValue, path + ".pageSize", "must be like \"2MB\" or \"1GB\"");
    fields.Finish();
    out->hugepage_limits.push_back(std::move(parsed));
  });
  root->Map("rdma", [&](const std::string& name, const JsonValue& item, const std::string& path) {
    Fields fields(item, path, root->error());
    Resources::Rdma parsed;
    parsed.device = name;
    fields.Integer("hcaHandles", &parsed.hca_handles);
    fields.Integer("hcaObjects", &parsed.hca_objects);
    if (name.empty() || name.find_first_of(std::string_view(" \t\n\0", 4)) != std::string::npos) {
      fields.Fail(kValue, path, "is not the name of a device");
    }
    fields.Finish();
    out->rdma.push_back(std::move(parsed));
  });
  root->Map("unified", [&](const std::string& key, const JsonValue& item, const std::string& path) {
    if (!item.IsString()) return root->Fail(kType, path, "must be a string");
    std::string value(item.GetString(), item.GetStringLength());
    if (value.find('\0') != std::string::npos)
      return root->Fail(kValue, path, "must not hold a null character");
    out->unified.push_back({key, std::move(value)});
  });
}

}  // namespace

Result<Resources> ParseResources(std::string_view json) {
  JsonDocument document;
  if (!ParseJson(json, &document)) return Error::Coded(kValue, "resources are not JSON", "resources");
  Error error;
  Resources out;
  Fields root(document, "", &error);
  if (!document.IsObject()) return Error::Coded(kType, "resources must be an object", "resources");
  if (const JsonValue* memory = root.Take("memory")) ParseMemory(*memory, &out.memory, &error);
  if (const JsonValue* cpu = root.Take("cpu")) ParseCpu(*cpu, &out.cpu, &error);
  if (const JsonValue* block_io = root.Take("blockIO")) ParseBlockIo(*block_io, &out.block_io, &error);
  if (const JsonValue* pids = root.Take("pids")) {
    Fields fields(*pids, "pids", &error);
    fields.Integer("limit", &out.pids_limit);
    fields.Finish();
  }
  ParseRest(&root, &out);
  for (const char* fixed : {"devices", "network"}) {
    if (root.Take(fixed) != nullptr) {
      root.Fail("ERR_UNSUPPORTED", fixed, "cannot be changed while the container exists");
    }
  }
  root.Finish();
  if (error.code != nullptr) return error;
  return out;
}

}  // namespace lc
