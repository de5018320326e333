// What native code returns: a value, or the system call that failed with its errno and path.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

namespace lc {

// `code` is a ContainerError code of the public contract, or null where the plain ERR_SYSCALL fits.
struct Error {
  int err = 0;
  std::string call;
  std::string path;
  const char* code = nullptr;
  std::string text;

  // errno is taken here, so build the Error right where the call failed.
  static Error Sys(const char* call, std::string path = {}) {
    return Error{errno, call, std::move(path), nullptr, {}};
  }
  static Error Of(int err, const char* call, std::string path = {}) {
    return Error{err, call, std::move(path), nullptr, {}};
  }
  static Error Coded(const char* code, std::string text, std::string path = {}) {
    return Error{0, {}, std::move(path), code, std::move(text)};
  }
  Error With(const char* new_code, std::string new_text = {}) && {
    code = new_code;
    if (!new_text.empty()) text = std::move(new_text);
    return std::move(*this);
  }
};

// The machine could not be asked, which says nothing of what was asked for: short of descriptors or memory,
// or a device failed.
inline bool IsShortage(const Error& error) {
  return error.err == EMFILE || error.err == ENFILE || error.err == ENOMEM || error.err == ENOBUFS ||
         error.err == EIO;
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  Error& error() { return error_; }
  const Error& error() const { return error_; }

 private:
  std::optional<T> value_;
  Error error_;
};

struct Unit {};
using Status = Result<Unit>;
inline Status Ok() {
  return Unit{};
}

}  // namespace lc
