// Stats as JSON, in the shape of `runc events --stats` `.data`: for tests, and the pattern for other
// visitors.
#pragma once

#include <string>

#include "cgroup/stats/visit.h"
#include "cgroup/update/json_text.h"

namespace lc_test {

class JsonVisitor {
 public:
  void BeginObject(const char* key) { Open(key, '{'); }
  void BeginNamed(const std::string& key) { Open(key.c_str(), '{'); }
  void EndObject() { Close('}'); }
  void BeginList(const char* key) { Open(key, '['); }
  void EndList() { Close(']'); }
  void Number(const char* key, const lc::Figure& value) {
    if (value) Value(key, std::to_string(*value));
  }
  void Signed(const char* key, const std::optional<int64_t>& value) {
    if (value) Value(key, std::to_string(*value));
  }
  void Real(const char* key, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", value);
    Value(key, text);
  }
  void Text(const char* key, const std::string& value) { Value(key, lc::JsonQuote(value)); }
  void LimitOf(const char* key, const lc::Limit& limit) {
    if (limit.known()) Value(key, limit.is_set() ? std::to_string(limit.value) : "null");
  }
  void Null(const char* key) { Value(key, "null"); }
  template <typename T>
  void Numbers(const char* key, const lc::FigureList<T>& list) {
    if (!list.present) return;
    Open(key, '[');
    for (T item : list.items) Value(nullptr, std::to_string(item));
    Close(']');
  }
  void Raw(const char* key, const lc::KeyList* keys, const std::vector<uint64_t>& values) {
    if (keys == nullptr) return;
    Open(key, '{');
    for (size_t i = 0; i < keys->size(); ++i) Value((*keys)[i].c_str(), std::to_string(values[i]));
    Close('}');
  }

  std::string text;

 private:
  void Key(const char* key) {
    if (!text.empty() && text.back() != '{' && text.back() != '[') text += ',';
    if (key != nullptr) text += lc::JsonQuote(key) + ":";
  }
  void Open(const char* key, char bracket) {
    Key(key);
    text += bracket;
  }
  void Close(char bracket) { text += bracket; }
  void Value(const char* key, const std::string& value) {
    Key(key);
    text += value;
  }
};

inline std::string StatsJson(const lc::Stats& stats) {
  JsonVisitor visitor;
  visitor.text = "{";
  lc::VisitStats(stats, visitor);
  return visitor.text + "}";
}

}  // namespace lc_test
