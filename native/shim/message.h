// One JSON object of the shim's protocol, written in order.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"
#include "core/result.h"

namespace lc::shim {

class Message {
 public:
  Message() : writer_(buffer_) { writer_.StartObject(); }

  Message& Add(const char* key, std::string_view value) {
    writer_.Key(key);
    writer_.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
    return *this;
  }
  Message& Add(const char* key, const char* value) { return Add(key, std::string_view(value)); }
  Message& Add(const char* key, bool value) {
    writer_.Key(key);
    writer_.Bool(value);
    return *this;
  }
  Message& Add(const char* key, int64_t value) {
    writer_.Key(key);
    writer_.Int64(value);
    return *this;
  }
  Message& Add(const char* key, uint64_t value) {
    writer_.Key(key);
    writer_.Uint64(value);
    return *this;
  }
  Message& Add(const char* key, int value) { return Add(key, static_cast<int64_t>(value)); }
  Message& Null(const char* key) {
    writer_.Key(key);
    writer_.Null();
    return *this;
  }
  Message& Begin(const char* key) {
    writer_.Key(key);
    writer_.StartObject();
    return *this;
  }
  Message& End() {
    writer_.EndObject();
    return *this;
  }
  Message& BeginArray(const char* key) {
    writer_.Key(key);
    writer_.StartArray();
    return *this;
  }
  Message& BeginItem() {
    writer_.StartObject();
    return *this;
  }
  Message& EndArray() {
    writer_.EndArray();
    return *this;
  }

  // Only the parts that are known; the facade words the message.
  Message& AddError(const Error& error, std::string_view runtime_log = {}) {
    Begin("error");
    Add("code", error.code != nullptr ? error.code : "ERR_SYSCALL");
    if (error.err != 0) Add("errno", error.err);
    if (!error.call.empty()) Add("syscall", error.call);
    if (!error.path.empty()) Add("path", error.path);
    if (!error.text.empty()) Add("text", error.text);
    if (!runtime_log.empty()) Add("runtimeLog", runtime_log);
    return End();
  }

  // Bytes so far.
  size_t size() const { return buffer_.GetSize(); }

  std::string Done() {
    writer_.EndObject();
    return {buffer_.GetString(), buffer_.GetSize()};
  }

 private:
  JsonBuffer buffer_;
  JsonWriter writer_;
};

}  // namespace lc::shim
