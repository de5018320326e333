// A number out of the kernel's files of "key value" lines.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lc {

// The number after `key`, which is the first word of its line and the number the last.
inline std::optional<uint64_t> ScanKeyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.starts_with(key) && line.size() > key.size() &&
        (line[key.size()] == ' ' || line[key.size()] == '\t')) {
      line.remove_prefix(key.size());
      while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
      uint64_t value = 0;
      auto [rest, failure] = std::from_chars(line.data(), line.data() + line.size(), value);
      if (failure != std::errc() || rest != line.data() + line.size()) return std::nullopt;
      return value;
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

}  // namespace lc
