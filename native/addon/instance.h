// What belongs to one Node environment: its connections, its shim images, the way to its JavaScript thread.
#pragma once

#include <napi.h>

#include <array>
#include <memory>

#include "addon/lane.h"
#include "cgroup/descriptors.h"
#include "client/connections.h"
#include "client/shim_spawn.h"
#include "events/watches.h"

namespace lc::addon {

struct Instance {
  explicit Instance(Napi::Env env) : env(env), lanes{Lane(env), Lane(env)} {}

  // Makes `connections`, once; not any more in an environment that is on its way out.
  void Begin();
  // Once: `listener([[watch, count, milliseconds, removed], ...])`.
  void ListenToWatches(const Napi::Function& listener);
  // After ListenToWatches.
  Result<std::shared_ptr<events::Watches>> Watches();
  void Unlisten();
  void Ref();
  void Unref();

  Napi::Env env;
  std::array<Lane, 2> lanes;
  std::shared_ptr<events::ShimImages> images = std::make_shared<events::ShimImages>();
  // How many kernel files this environment's containers keep open; shared, since work in flight may outlive
  // it.
  std::shared_ptr<DescriptorBudget> budget = std::make_shared<DescriptorBudget>();
  std::unique_ptr<events::Connections> connections;
  Napi::ThreadSafeFunction deliver;
  int refs = 0;

 private:
  void Notify();
  void Deliver(Napi::Env call_env);

  Napi::FunctionReference watch_listener_;
  std::shared_ptr<events::Watches> watches_;
  bool ended_ = false;
};

}  // namespace lc::addon
