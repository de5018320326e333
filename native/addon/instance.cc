// What belongs to one Node environment: its connections, its shim images, the way to its JavaScript thread.
#include "addon/instance.h"

namespace lc::addon {

bool Instance::Begin() {
  if (epoll_ || ended_) return !ended_;
  auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  // One slot is enough: each call takes all the facts that wait.
  deliver_ = Napi::ThreadSafeFunction::New(env, nothing, "libcontainer", 0, 1);
  // Watching alone keeps no program alive; calls in flight do, by Ref.
  deliver_.Unref(env);
  if (refs_ > 0) deliver_.Ref(env);
  epoll_ = std::make_unique<events::EpollThread>([this] { Notify(); });
  // Hooks run in reverse order: when `deliver_` is taken away, which is before instance data is, nobody calls
  // it any more.
  napi_add_env_cleanup_hook(
      env, [](void* self) { static_cast<Instance*>(self)->Unlisten(); }, this);
  return true;
}

Result<client::Connections*> Instance::Connect() {
  if (connections_) return connections_.get();
  // The thread starts now rather than when a full socket needs it: then there would be no way back.
  auto epoll = epoll_->Share();
  if (!epoll) return epoll.error();
  const auto owner = events::EpollThread::Owner::kConnections;
  connections_ = std::make_unique<client::Connections>(std::move(*epoll), events::EpollThread::Tag(owner, 0));
  flusher_ = std::make_unique<Flusher>(connections_.get());
  epoll_->SetHandler(owner, flusher_.get());
  return connections_.get();
}

void Instance::ListenToWatches(const Napi::Function& listener) {
  Begin();
  if (watch_listener_.IsEmpty()) watch_listener_ = Napi::Persistent(listener);
}

Result<std::shared_ptr<events::Watches>> Instance::Watches() {
  if (watches_) return watches_;
  if (!epoll_) return Error::Of(ECANCELED, "epoll_create1");  // the environment is on its way out
  auto epoll = epoll_->Share();
  if (!epoll) return epoll.error();
  watches_ = std::make_shared<events::Watches>(std::move(*epoll), [this] { Notify(); });
  epoll_->SetHandler(events::EpollThread::Owner::kWatches, watches_.get());
  return watches_;
}

void Instance::ListenToReadiness(const Napi::Function& listener) {
  Begin();
  if (readiness_listener_.IsEmpty()) readiness_listener_ = Napi::Persistent(listener);
}

Result<events::Readiness*> Instance::Readiness() {
  if (readiness_) return readiness_.get();
  if (!epoll_) return Error::Of(ECANCELED, "epoll_create1");  // the environment is on its way out
  auto epoll = epoll_->Share();
  if (!epoll) return epoll.error();
  const auto owner = events::EpollThread::Owner::kReadiness;
  readiness_ = std::make_unique<events::Readiness>(std::move(*epoll), events::EpollThread::Tag(owner, 0));
  epoll_->SetHandler(owner, readiness_.get());
  return readiness_.get();
}

void Instance::Notify() {
  deliver_.NonBlockingCall([this](Napi::Env call_env, const Napi::Function&) { Deliver(call_env); });
}

void Instance::Deliver(Napi::Env call_env) {
  DeliverFacts(call_env);
  DeliverReadiness(call_env);
}

void Instance::DeliverReadiness(Napi::Env call_env) {
  if (!epoll_ || !readiness_ || readiness_listener_.IsEmpty() || call_env.IsExceptionPending()) return;
  auto ready = readiness_->Take();
  if (ready.empty()) return;
  auto numbers = Napi::Array::New(call_env, ready.size());
  for (size_t i = 0; i < ready.size(); ++i)
    numbers.Set(static_cast<uint32_t>(i), Napi::Number::New(call_env, ready[i]));
  readiness_listener_.Call({numbers});
}

void Instance::DeliverFacts(Napi::Env call_env) {
  if (!epoll_ || !watches_ || watch_listener_.IsEmpty() || call_env.IsExceptionPending()) return;
  auto told = watches_->Take();
  if (told.empty()) return;
  auto batch = Napi::Array::New(call_env, told.size());
  for (size_t i = 0; i < told.size(); ++i) {
    Napi::HandleScope scope(call_env);
    auto fact = Napi::Array::New(call_env, 4);
    fact.Set(0U, Napi::Number::New(call_env, told[i].watch));
    fact.Set(1U, Napi::Number::New(call_env, static_cast<double>(told[i].count)));
    fact.Set(2U, Napi::Number::New(call_env, static_cast<double>(told[i].at_ms)));
    fact.Set(3U, Napi::Boolean::New(call_env, told[i].removed));
    batch.Set(static_cast<uint32_t>(i), fact);
  }
  watch_listener_.Call({batch});
}

void Instance::Ref() {
  Begin();
  if (refs_++ == 0 && epoll_) deliver_.Ref(env);
}

void Instance::Unref() {
  if (refs_ > 0 && --refs_ == 0 && epoll_) deliver_.Unref(env);
}

void Instance::Unlisten() {
  ended_ = true;
  if (!epoll_) return;
  if (watches_) watches_->Mute();
  epoll_.reset();  // joins the thread, so that nothing is delivered to an environment that is gone
  readiness_.reset();
  flusher_.reset();
  connections_.reset();
  deliver_.Abort();
}

}  // namespace lc::addon
