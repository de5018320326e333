// Threads of an environment that take a call each, for a shorter way than the thread pool's.
#pragma once

#include <napi.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <memory>

#include "core/unique_fd.h"

namespace lc::addon {

// A call off the JavaScript thread.
class Job {
 public:
  Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job() = default;
  virtual void Execute() = 0;            // on another thread; touches no JavaScript value
  virtual void Complete(Napi::Env) = 0;  // on the JavaScript thread, unless the environment ends before
};

// Most calls here take less time than it takes to wake a sleeping thread. So the lane's thread, having done
// one, looks out for the next for a moment before it sleeps: a program that makes one call after the other
// wakes nobody but itself. No call ever waits behind another: see Run.
class Lane {
 public:
  explicit Lane(Napi::Env env);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // By the first lane that is free, or else by the thread pool.
  static void Run(Napi::Env env, std::array<Lane, 2>& lanes, std::unique_ptr<Job> job);

  // From within a job: closes it once the job's result is on its way, so that nobody waits for the close.
  // Elsewhere closes it at once.
  static void CloseLater(UniqueFd fd);

 private:
  static void Deliver(Napi::Env env, Napi::Function, Lane* lane, Job* job);
  using Completions = Napi::TypedThreadSafeFunction<Lane, Job, &Lane::Deliver>;

  bool Take(std::unique_ptr<Job>* job);
  bool Start();
  void Stop();
  void Work();
  Job* Next();

  Napi::Env env_;
  enum class State { kNew, kRuns, kOff };
  State state_ = State::kNew;
  pthread_t thread_{};
  Completions completions_;
  unsigned in_flight_ = 0;
  std::atomic<bool> busy_{false};
  std::atomic<Job*> next_{nullptr};
};

}  // namespace lc::addon
