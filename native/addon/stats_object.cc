// Figures as a JavaScript object, by the walk of cgroup/stats/visit.h.
#include "addon/stats_object.h"

#include <cstring>
#include <string>
#include <vector>

#include "cgroup/stats/visit.h"

namespace lc::addon {
namespace {

class ObjectBuilder {
 public:
  ObjectBuilder(Napi::Env env, Napi::Object root) : env_(env) { levels_.push_back({root, false, 0}); }

  void BeginObject(const char* key) { Open(key, Napi::Object::New(env_), false); }
  void BeginNamed(const std::string& key) { Open(key.c_str(), Napi::Object::New(env_), false); }
  void BeginList(const char* key) { Open(key, Napi::Array::New(env_), true); }
  void EndObject() { levels_.pop_back(); }
  void EndList() { levels_.pop_back(); }

  void Number(const char* key, const Figure& value) {
    if (value) Put(key, Napi::Number::New(env_, static_cast<double>(*value)));
  }
  void Number(const char* key, uint64_t value) {
    Put(key, Napi::Number::New(env_, static_cast<double>(value)));
  }
  void Signed(const char* key, const std::optional<int64_t>& value) {
    if (value) Put(key, Napi::Number::New(env_, static_cast<double>(*value)));
  }
  void Real(const char* key, double value) { Put(key, Napi::Number::New(env_, value)); }
  void Text(const char* key, const std::string& value) { Put(key, Napi::String::New(env_, value)); }
  void LimitOf(const char* key, const Limit& value) {
    if (value.is_set()) {
      Put(key, Napi::Number::New(env_, static_cast<double>(value.value)));
    } else if (value.known()) {
      Null(key);
    }
  }
  void Null(const char* key) { Put(key, env_.Null()); }
  template <typename T>
  void Numbers(const char* key, const FigureList<T>& list) {
    if (!list.present) return;
    auto array = Napi::Array::New(env_, list.items.size());
    for (size_t i = 0; i < list.items.size(); ++i) {
      array.Set(static_cast<uint32_t>(i), Napi::Number::New(env_, static_cast<double>(list.items[i])));
    }
    Put(key, array);
  }
  void Raw(const char* key, const KeyList* names, const std::vector<uint64_t>& values) {
    if (names == nullptr) return;
    auto object = Napi::Object::New(env_);
    for (size_t i = 0; i < names->size() && i < values.size(); ++i) {
      PutOwn(object, (*names)[i].c_str(), Napi::Number::New(env_, static_cast<double>(values[i])));
    }
    Put(key, object);
  }

 private:
  struct Level {
    Napi::Object object;
    bool list;
    uint32_t next;
  };

  void Put(const char* key, Napi::Value value) {
    Level& level = levels_.back();
    if (level.list) {
      level.object.Set(level.next++, value);
    } else {
      PutOwn(level.object, key, value);
    }
  }
  /** A name that the kernel chose may be the one that would change the object's prototype. */
  static void PutOwn(Napi::Object object, const char* key, Napi::Value value) {
    if (std::strcmp(key, "__proto__") != 0) {
      object.Set(key, value);
    } else {
      object.DefineProperty(Napi::PropertyDescriptor::Value(key, value, napi_default_jsproperty));
    }
  }
  void Open(const char* key, Napi::Object object, bool list) {
    Put(key, object);
    levels_.push_back({object, list, 0});
  }

  Napi::Env env_;
  std::vector<Level> levels_;
};

}  // namespace

Napi::Object StatsObject(Napi::Env env, const Stats& stats) {
  auto root = Napi::Object::New(env);
  ObjectBuilder builder(env, root);
  VisitStats(stats, builder);
  return root;
}

}  // namespace lc::addon
