// Addon and shim are built without exceptions: what the C++ library would throw ends the process, at once and
// with a word on why. Defined here, these also keep the library's unwinder, demangler and locale code (300
// KB) out of both: the addon has the C++ library in itself, so that it asks nothing of the machine's.
#include <bits/functexcept.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <new>

namespace {

[[noreturn]] void Die(const char* what) {
  (void)!write(2, what, strlen(what));
  abort();
}

// A machine that is out of memory may have some a moment later: a shim that dies of it takes exit statuses
// with it.
constexpr int kAttempts = 50;
constexpr timespec kPause{0, 10'000'000};

void* Allocate(std::size_t size) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    void* memory = malloc(size == 0 ? 1 : size);
    if (memory != nullptr) return memory;
    nanosleep(&kPause, nullptr);
  }
  Die("libcontainer: out of memory\n");
}

}  // namespace

void* operator new(std::size_t size) {
  return Allocate(size);
}
void* operator new[](std::size_t size) {
  return Allocate(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept {
  free(memory);
}
void operator delete[](void* memory) noexcept {
  free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  free(memory);
}

// The names are the C++ library's. NOLINTBEGIN(bugprone-reserved-identifier)
// Named by the unwind tables of the C++ library's own objects; nothing unwinds here.
extern "C" void __gxx_personality_v0() {
  Die("libcontainer: exception\n");
}
// Weak: glibc's own static library brings another one.
extern "C" __attribute__((weak)) void _Unwind_Resume() {
  Die("libcontainer: exception\n");
}
// Named by the library's guard of static variables, for one whose constructor comes to need it again.
extern "C" void* __cxa_allocate_exception(std::size_t) noexcept {
  Die("libcontainer: a static variable needs itself\n");
}
extern "C" void __cxa_free_exception(void*) noexcept {
  Die("libcontainer: exception\n");
}
extern "C" void __cxa_throw(void*, void*, void (*)(void*)) {
  Die("libcontainer: exception\n");
}
extern "C" void* __cxa_begin_catch(void*) noexcept {
  Die("libcontainer: exception\n");
}
extern "C" void __cxa_end_catch() {
  Die("libcontainer: exception\n");
}
extern "C" void __cxa_pure_virtual() {
  Die("libcontainer: pure virtual call\n");
}

namespace std {

// Without type information no deleter is ever asked for by type (make_shared).
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept {
  return false;
}

void terminate() noexcept {
  Die("libcontainer: a thread was let go of while it ran\n");
}

void __throw_system_error(int) {
  Die("libcontainer: a thread or a lock was not to be had\n");
}
void __throw_bad_alloc() {
  Die("libcontainer: out of memory\n");
}
void __throw_bad_array_new_length() {
  Die("libcontainer: array too long\n");
}
void __throw_length_error(const char* what) {
  Die(what);
}
void __throw_logic_error(const char* what) {
  Die(what);
}
void __throw_out_of_range(const char* what) {
  Die(what);
}
void __throw_out_of_range_fmt(const char* what, ...) {
  Die(what);
}
void __throw_invalid_argument(const char* what) {
  Die(what);
}
void __throw_bad_function_call() {
  Die("libcontainer: empty function called\n");
}
void __throw_bad_optional_access() {
  Die("libcontainer: empty optional read\n");
}

}  // namespace std
// NOLINTEND(bugprone-reserved-identifier)
