// Threads of an environment that take a call each, for a shorter way than the thread pool's.
#include "addon/lane.h"

#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace lc::addon {
namespace {

// As long as it takes a program to hear of one call's end and to make the next.
constexpr int64_t kLookOutNs = 50'000;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// With one CPU to run on, looking out would keep from running whoever is looked out for.
bool HasManyCpus() {
  static const bool many = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
  }();
  return many;
}

// Of a lane's thread: what it has yet to close.
thread_local std::vector<UniqueFd>* closing = nullptr;

class Stopper final : public Job {
 public:
  void Execute() override {}
  void Complete(Napi::Env) override {}
};
Stopper stop_mark;

class PoolRun final : public Napi::AsyncWorker {
 public:
  PoolRun(Napi::Env env, std::unique_ptr<Job> job) : Napi::AsyncWorker(env), job_(std::move(job)) {}

 protected:
  void Execute() override { job_->Execute(); }
  void OnOK() override {
    Napi::HandleScope scope(Env());
    job_->Complete(Env());
  }

 private:
  std::unique_ptr<Job> job_;
};

}  // namespace

Lane::Lane(Napi::Env env) : env_(env) {}

Lane::~Lane() {
  Stop();
}

bool Lane::Start() {
  if (state_ != State::kNew) return state_ == State::kRuns;
  state_ = State::kOff;
  completions_ = Completions::New(env_, "libcontainer.lane", 0, 1, this);
  completions_.Unref(env_);
  // Node's signals are for Node's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto work = [](void* lane) -> void* {
    static_cast<Lane*>(lane)->Work();
    return nullptr;
  };
  int error = pthread_create(&thread_, nullptr, work, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    completions_.Abort();
    return false;
  }
  // Hooks run in reverse order: the thread has ended when the function it calls is taken away.
  napi_add_env_cleanup_hook(
      env_, [](void* lane) { static_cast<Lane*>(lane)->Stop(); }, this);
  state_ = State::kRuns;
  return true;
}

// What is under way is finished first, as in the thread pool.
void Lane::Stop() {
  if (state_ != State::kRuns) {
    state_ = State::kOff;
    return;
  }
  state_ = State::kOff;
  while (busy_.exchange(true)) sched_yield();
  next_.store(&stop_mark);
  next_.notify_one();
  pthread_join(thread_, nullptr);
  completions_.Abort();
}

void Lane::Run(Napi::Env env, std::array<Lane, 2>& lanes, std::unique_ptr<Job> job) {
  for (Lane& lane : lanes) {
    if (lane.Take(&job)) return;
  }
  (new PoolRun(env, std::move(job)))->Queue();
}

bool Lane::Take(std::unique_ptr<Job>* job) {
  if (!Start() || busy_.exchange(true)) return false;
  if (in_flight_++ == 0) completions_.Ref(env_);
  next_.store(job->release());
  next_.notify_one();
  return true;
}

Job* Lane::Next() {
  if (HasManyCpus()) {
    int64_t end = NowNs() + kLookOutNs;
    do {
      for (int i = 0; i < 50; ++i) {
        if (next_.load(std::memory_order_relaxed) != nullptr) return next_.exchange(nullptr);
        Relax();
      }
    } while (NowNs() < end);
  }
  next_.wait(nullptr);
  return next_.exchange(nullptr);
}

void Lane::CloseLater(UniqueFd fd) {
  if (closing != nullptr) closing->push_back(std::move(fd));
}

void Lane::Work() {
  std::vector<UniqueFd> descriptors;
  closing = &descriptors;
  for (;;) {
    Job* job = Next();
    if (job == &stop_mark) return;
    job->Execute();
    // Before the word is given: whoever hears it finds the lane free.
    busy_.store(false);
    if (completions_.NonBlockingCall(job) != napi_ok) delete job;
    descriptors.clear();
  }
}

void Lane::Deliver(Napi::Env env, Napi::Function, Lane* lane, Job* job) {
  std::unique_ptr<Job> owned(job);
  // Without an environment: it is on its way out, and nobody waits any more.
  if (static_cast<napi_env>(env) == nullptr) return;
  if (--lane->in_flight_ == 0) lane->completions_.Unref(env);
  Napi::HandleScope scope(env);
  job->Complete(env);
}

}  // namespace lc::addon
