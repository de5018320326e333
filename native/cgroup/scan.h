// Number and word scanners for the kernel's small text files: no allocation, no locale, no overflow.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/keyed_text.h"

namespace lc {

// Walks over one text. Every Take function moves past what it returned and leaves the rest alone when it
// returns nothing.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  bool done() const { return at_ == end_; }
  char peek() const { return at_ == end_ ? '\0' : *at_; }
  std::string_view rest() const { return {at_, static_cast<size_t>(end_ - at_)}; }

  bool Take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  void SkipBlanks() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\t')) ++at_;
  }
  // Past the next newline, or to the end.
  void SkipLine() {
    while (at_ != end_ && *at_ != '\n') ++at_;
    if (at_ != end_) ++at_;
  }
  // Up to a blank, a newline or `stop`, which stay; may be empty.
  std::string_view TakeWord(char stop = '\n') {
    const char* begin = at_;
    while (at_ != end_ && *at_ != ' ' && *at_ != '\t' && *at_ != '\n' && *at_ != stop) ++at_;
    return {begin, static_cast<size_t>(at_ - begin)};
  }
  std::string_view TakeLine() {
    const char* begin = at_;
    while (at_ != end_ && *at_ != '\n') ++at_;
    std::string_view line(begin, static_cast<size_t>(at_ - begin));
    if (at_ != end_) ++at_;
    return line;
  }
  std::optional<uint64_t> TakeU64() {
    const char* p = at_;
    uint64_t value = 0;
    while (p != end_ && static_cast<unsigned char>(*p - '0') < 10) {
      unsigned digit = static_cast<unsigned>(*p - '0');
      // 19 digits always fit; only the 20th can overflow.
      if (p - at_ >= 19 &&
          (value > UINT64_MAX / 10 || (value == UINT64_MAX / 10 && digit > UINT64_MAX % 10))) {
        return std::nullopt;
      }
      value = value * 10 + digit;
      ++p;
    }
    if (p == at_) return std::nullopt;
    at_ = p;
    return value;
  }

 private:
  const char* at_;
  const char* end_;
};

// The whole text is one number, blanks and newlines after it allowed.
inline std::optional<uint64_t> ScanU64(std::string_view text) {
  Scanner scan(text);
  auto value = scan.TakeU64();
  if (!value) return std::nullopt;
  while (scan.Take('\n') || scan.Take(' ')) {
  }
  if (!scan.done()) return std::nullopt;
  return value;
}

inline std::optional<int64_t> ScanI64(std::string_view text) {
  bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  auto value = ScanU64(text);
  uint64_t most = static_cast<uint64_t>(INT64_MAX) + (negative ? 1U : 0U);
  if (!value || *value > most) return std::nullopt;
  return negative ? static_cast<int64_t>(0 - *value) : static_cast<int64_t>(*value);
}

}  // namespace lc
