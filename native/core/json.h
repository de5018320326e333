// RapidJSON as it is used here: iterative (hostile nesting cannot exhaust the stack), lengths checked.
#pragma once

#define RAPIDJSON_HAS_STDSTRING 1
// Parse errors are answers here; an assertion would end the shim. Look-ups are checked before use.
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lc {

// Through operator new, which knows what to do when there is no memory: RapidJSON writes to what it gets.
class JsonHeap {
 public:
  static constexpr bool kNeedFree = true;

  // NOLINTBEGIN(readability-identifier-naming): RapidJSON's names.
  void* Malloc(size_t size) { return size == 0 ? nullptr : ::operator new(size); }
  void* Realloc(void* before, size_t had, size_t wanted) {
    void* memory = Malloc(wanted);
    if (before != nullptr && memory != nullptr) memcpy(memory, before, std::min(had, wanted));
    Free(before);
    return memory;
  }
  static void Free(void* memory) { ::operator delete(memory); }
  // NOLINTEND(readability-identifier-naming)
};

using JsonAllocator = rapidjson::MemoryPoolAllocator<JsonHeap>;
using JsonValue = rapidjson::GenericValue<rapidjson::UTF8<>, JsonAllocator>;

// The memory of a small document lies in the object itself: most of what the shim parses fits, and a program
// that mostly sleeps neither maps nor faults in pages for each message. The rest comes from the heap.
class JsonMemory {
 protected:
  static constexpr size_t kGrowth = 16384;
  static constexpr size_t kDepth = 2048;

  alignas(16) char value_bytes_[6144];
  alignas(16) char stack_bytes_[6144];
  JsonAllocator value_pool_{value_bytes_, sizeof(value_bytes_), kGrowth};
  JsonAllocator stack_pool_{stack_bytes_, sizeof(stack_bytes_), kGrowth};
};

class JsonDocument : private JsonMemory,
                     public rapidjson::GenericDocument<rapidjson::UTF8<>, JsonAllocator, JsonAllocator> {
  using Base = rapidjson::GenericDocument<rapidjson::UTF8<>, JsonAllocator, JsonAllocator>;

 public:
  JsonDocument() : Base(&value_pool_, kDepth, &stack_pool_) {}
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;
};

using JsonBuffer = rapidjson::GenericStringBuffer<rapidjson::UTF8<>, JsonHeap>;
using JsonWriter = rapidjson::Writer<JsonBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, JsonHeap>;

inline bool ParseJson(std::string_view text, JsonDocument* out) {
  out->Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(),
                                                                                     text.size());
  return !out->HasParseError();
}

// As ParseJson, of a file that a runtime has accepted: texts may hold bytes that are no UTF-8, or half a
// surrogate pair, which counts as U+FFFD.
inline bool ParseForeignJson(std::string text, JsonDocument* out) {
  constexpr size_t kEscape = 6;  // "\uXXXX"
  auto unit = [&text](size_t at) {
    unsigned value = 0;
    const char* digits = text.data() + at + 2;
    bool whole = at + kEscape <= text.size() && text[at] == '\\' && text[at + 1] == 'u' &&
                 std::from_chars(digits, digits + 4, value, 16).ptr == digits + 4;
    return whole ? value : 0;
  };
  for (size_t at = text.find('\\'); at != std::string::npos; at = text.find('\\', at)) {
    unsigned first = unit(at);
    if (first < 0xD800 || first > 0xDFFF) {
      at += 2;
      continue;
    }
    unsigned second = first < 0xDC00 ? unit(at + kEscape) : 0;
    if (second >= 0xDC00 && second <= 0xDFFF) {
      at += 2 * kEscape;
    } else {
      text.replace(at, kEscape, "\\ufffd");
      at += kEscape;
    }
  }
  out->Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  return !out->HasParseError();
}

// The member, or null where it is missing, null, or the value is no object.
inline const JsonValue* Member(const JsonValue& value, const char* name) {
  if (!value.IsObject()) return nullptr;
  auto it = value.FindMember(name);
  if (it == value.MemberEnd() || it->value.IsNull()) return nullptr;
  return &it->value;
}

inline std::optional<std::string> StringMember(const JsonValue& value, const char* name) {
  const JsonValue* member = Member(value, name);
  if (member == nullptr || !member->IsString()) return std::nullopt;
  return std::string(member->GetString(), member->GetStringLength());
}

inline std::optional<bool> BoolMember(const JsonValue& value, const char* name) {
  const JsonValue* member = Member(value, name);
  if (member == nullptr || !member->IsBool()) return std::nullopt;
  return member->GetBool();
}

inline std::optional<int64_t> IntMember(const JsonValue& value, const char* name) {
  const JsonValue* member = Member(value, name);
  if (member == nullptr || !member->IsInt64()) return std::nullopt;
  return member->GetInt64();
}

inline std::optional<uint64_t> UintMember(const JsonValue& value, const char* name) {
  const JsonValue* member = Member(value, name);
  if (member == nullptr || !member->IsUint64()) return std::nullopt;
  return member->GetUint64();
}

inline std::vector<std::string> StringsMember(const JsonValue& value, const char* name) {
  std::vector<std::string> out;
  const JsonValue* member = Member(value, name);
  if (member == nullptr || !member->IsArray()) return out;
  for (const JsonValue& item : member->GetArray()) {
    if (item.IsString()) out.emplace_back(item.GetString(), item.GetStringLength());
  }
  return out;
}

}  // namespace lc
