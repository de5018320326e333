// What belongs to one Node environment: its connections, its shim images, the way to its JavaScript thread.
#pragma once

#include <napi.h>

#include <array>
#include <memory>

#include "addon/lane.h"
#include "cgroup/descriptors.h"
#include "client/connections.h"
#include "client/shim_spawn.h"
#include "events/epoll_thread.h"
#include "events/readiness.h"
#include "events/watches.h"

namespace lc::addon {

// Flushes connections on the epoll thread.
class Flusher final : public events::EpollHandler {
 public:
  explicit Flusher(client::Connections* connections) : connections_(connections) {}
  bool Serve(uint32_t connection, uint32_t) override {
    connections_->Flush(connection);
    return false;
  }

 private:
  client::Connections* const connections_;
};

struct Instance {
  explicit Instance(Napi::Env env) : env(env), lanes{Lane(env), Lane(env)} {}

  // Makes the way to the JavaScript thread, once. False in an environment that is on its way out.
  bool Begin();
  // After Begin.
  Result<client::Connections*> Connect();
  // Null before Connect, and in an environment that is on its way out.
  client::Connections* connections() { return connections_.get(); }
  // Once: `listener([[watch, count, milliseconds, removed], ...])`.
  void ListenToWatches(const Napi::Function& listener);
  // After ListenToWatches.
  Result<std::shared_ptr<events::Watches>> Watches();
  // Once: `listener([number, ...])`.
  void ListenToReadiness(const Napi::Function& listener);
  // After ListenToReadiness.
  Result<events::Readiness*> Readiness();
  void Unlisten();
  void Ref();
  void Unref();

  Napi::Env env;
  std::array<Lane, 2> lanes;
  std::shared_ptr<client::ShimImages> images = std::make_shared<client::ShimImages>();
  // How many kernel files this environment's containers keep open; shared, since work in flight may outlive
  // it.
  std::shared_ptr<DescriptorBudget> budget = std::make_shared<DescriptorBudget>();

 private:
  void Notify();
  void Deliver(Napi::Env call_env);
  void DeliverFacts(Napi::Env call_env);
  void DeliverReadiness(Napi::Env call_env);

  Napi::ThreadSafeFunction deliver_;
  int refs_ = 0;
  std::unique_ptr<client::Connections> connections_;
  std::unique_ptr<Flusher> flusher_;
  Napi::FunctionReference watch_listener_;
  std::shared_ptr<events::Watches> watches_;
  Napi::FunctionReference readiness_listener_;
  std::unique_ptr<events::Readiness> readiness_;
  std::unique_ptr<events::EpollThread> epoll_;  // ends before those that it serves
  bool ended_ = false;
};

}  // namespace lc::addon
