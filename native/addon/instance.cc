// What belongs to one Node environment: its connections, its shim images, the way to its JavaScript thread.
#include "addon/instance.h"

namespace lc::addon {

void Instance::Listen(const Napi::Function& listener) {
  if (connections) return;
  // One slot is enough: each call takes all the facts that wait.
  deliver = Napi::ThreadSafeFunction::New(env, listener, "libcontainer", 0, 1);
  // Watching alone keeps no program alive; calls in flight do, by Ref.
  deliver.Unref(env);
  connections = std::make_unique<events::Connections>([this] {
    deliver.NonBlockingCall([this](Napi::Env call_env, Napi::Function function) {
      if (!connections) return;
      auto facts = connections->Take();
      if (facts.empty()) return;
      auto batch = Napi::Array::New(call_env, facts.size());
      for (size_t i = 0; i < facts.size(); ++i) {
        auto pair = Napi::Array::New(call_env, 2);
        pair.Set(0U, Napi::Number::New(call_env, facts[i].connection));
        if (facts[i].closed) {
          pair.Set(1U, call_env.Null());
        } else {
          pair.Set(1U, Napi::String::New(call_env, facts[i].message));
        }
        batch.Set(static_cast<uint32_t>(i), pair);
      }
      function.Call({batch});
    });
  });
  // Hooks run in reverse order: when `deliver` is taken away, which is before instance data is, nobody calls
  // it any more.
  napi_add_env_cleanup_hook(
      env, [](void* self) { static_cast<Instance*>(self)->Unlisten(); }, this);
}

void Instance::Ref() {
  if (refs++ == 0 && connections) deliver.Ref(env);
}

void Instance::Unref() {
  if (refs > 0 && --refs == 0 && connections) deliver.Unref(env);
}

void Instance::Unlisten() {
  connections.reset();  // joins the thread, so that nothing is delivered to an environment that is gone
  deliver.Abort();
}

}  // namespace lc::addon
