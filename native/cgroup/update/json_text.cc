// JSON as text with places: finds where a value stands.
#include "cgroup/update/json_text.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace lc {
namespace {

// What may stand in a string as it is: all but the quote, the backslash and control characters.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (size_t c = 0x20; c < 256; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}();

// The usual tricks on eight bytes at once: a byte that is zero, or less than n, borrows into its top bit.
// What is not ASCII may be taken for less; then it is looked up.
bool AllPlain(const char* text) {
  constexpr uint64_t kOnes = 0x0101010101010101U;
  constexpr uint64_t kTops = 0x8080808080808080U;
  uint64_t word = 0;
  memcpy(&word, text, sizeof word);
  uint64_t quote = word ^ (kOnes * '"');
  uint64_t backslash = word ^ (kOnes * '\\');
  return (((word - kOnes * 0x20) | (quote - kOnes) | (backslash - kOnes)) & kTops) == 0;
}

// Walks over tokens; every Skip function returns false where the text is not JSON.
class Walker {
 public:
  Walker(std::string_view text, size_t at) : text_(text), at_(at) {}

  size_t at() const { return at_; }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool done() const { return at_ >= text_.size(); }
  void SkipBlanks() {
    while (!done() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }
  bool Take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool SkipString() {
    if (!Take('"')) return false;
    const char* p = text_.data() + at_;
    const char* end = text_.data() + text_.size();
    for (;;) {
      // Most of a record is the insides of strings: eight characters at a time, then one look-up for each.
      while (end - p >= 8 && AllPlain(p)) p += 8;
      while (p != end && kPlain[static_cast<unsigned char>(*p)]) ++p;
      if (p == end) return false;
      at_ = static_cast<size_t>(p - text_.data()) + 1;
      if (*p == '"') return true;
      if (*p != '\\' || !SkipEscape()) return false;
      p = text_.data() + at_;
    }
  }

  // A whole value of any kind. Open brackets are counted on a heap, so depth costs no stack.
  bool SkipValue() {
    std::vector<char> open;
    do {
      SkipBlanks();
      char c = peek();
      if (c == '{' || c == '[') {
        open.push_back(c);
        ++at_;
        SkipBlanks();
        if (Take(c == '{' ? '}' : ']')) {
          open.pop_back();
        } else {
          if (c == '{' && !SkipKey()) return false;
          continue;
        }
      } else if (!SkipScalar()) {
        return false;
      }
      // After a value: close what ends here, or go on to the next member.
      while (!open.empty()) {
        SkipBlanks();
        if (Take(',')) {
          if (open.back() == '{' && !SkipKey()) return false;
          break;
        }
        if (!Take(open.back() == '{' ? '}' : ']')) return false;
        open.pop_back();
      }
    } while (!open.empty());
    return true;
  }

  static int HexValue(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

 private:
  // Behind the backslash.
  bool SkipEscape() {
    if (done()) return false;
    char escaped = text_[at_++];
    if (escaped != 'u') return std::string_view("\"\\/bfnrt").find(escaped) != std::string_view::npos;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (done() || HexValue(text_[at_]) < 0) return false;
    }
    return true;
  }
  bool SkipKey() {
    SkipBlanks();
    if (!SkipString()) return false;
    SkipBlanks();
    return Take(':');
  }
  bool SkipDigits() {
    size_t begin = at_;
    while (!done() && peek() >= '0' && peek() <= '9') ++at_;
    return at_ > begin;
  }
  bool SkipScalar() {
    char c = peek();
    if (c == '"') return SkipString();
    for (std::string_view word : {"true", "false", "null"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return true;
      }
    }
    Take('-');
    if (!Take('0') && !SkipDigits()) return false;
    if (Take('.') && !SkipDigits()) return false;
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!Take('+')) Take('-');
      if (!SkipDigits()) return false;
    }
    return true;
  }

  std::string_view text_;
  size_t at_;
};

void AppendUtf8(std::string* out, unsigned code) {
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    *out += static_cast<char>(0xC0U | (code >> 6U));
    *out += static_cast<char>(0x80U | (code & 0x3FU));
  } else {
    *out += static_cast<char>(0xE0U | (code >> 12U));
    *out += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
    *out += static_cast<char>(0x80U | (code & 0x3FU));
  }
}

// The inside of a string that SkipString accepted. Names are compared, never printed, so half a surrogate
// pair may stay what it is.
std::string Unescape(std::string_view inside) {
  std::string out;
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] != '\\') {
      out += inside[i];
      continue;
    }
    char c = inside[++i];
    static constexpr std::string_view kFrom = "bfnrt";
    static constexpr std::string_view kTo = "\b\f\n\r\t";
    size_t known = kFrom.find(c);
    if (c == 'u') {
      unsigned code = 0;
      for (int digit = 0; digit < 4; ++digit)
        code = code * 16 + static_cast<unsigned>(Walker::HexValue(inside[++i]));
      AppendUtf8(&out, code);
    } else {
      out += known == std::string_view::npos ? c : kTo[known];
    }
  }
  return out;
}

// From the opening bracket to behind the closing one. `enter` is asked with the name of each member; true
// says that it has walked over the value itself. The members go to `out` where that is given.
template <typename F>
bool WalkObject(std::string_view text, Walker* walker, std::vector<JsonMember>* out, F enter) {
  walker->SkipBlanks();
  if (!walker->Take('{')) return false;
  walker->SkipBlanks();
  if (walker->Take('}')) return true;
  if (out != nullptr) out->reserve(64);  // runc's record has some 40
  for (;;) {
    walker->SkipBlanks();
    size_t begin = walker->at();
    if (!walker->SkipString()) return false;
    std::string_view inside = text.substr(begin + 1, walker->at() - begin - 2);
    std::string unescaped;
    if (inside.find('\\') != std::string_view::npos) inside = unescaped = Unescape(inside);
    walker->SkipBlanks();
    if (!walker->Take(':')) return false;
    walker->SkipBlanks();
    size_t value = walker->at();
    if (!enter(inside) && (walker->at() != value || !walker->SkipValue())) return false;
    if (out != nullptr) out->push_back({std::string(inside), {value, walker->at()}});
    walker->SkipBlanks();
    if (walker->Take('}')) return true;
    if (!walker->Take(',')) return false;
  }
}

}  // namespace

bool IsJson(std::string_view text) {
  Walker walker(text, 0);
  if (!walker.SkipValue()) return false;
  walker.SkipBlanks();
  return walker.done();
}

std::optional<std::vector<JsonMember>> JsonObjectAt(std::string_view text, size_t at) {
  std::vector<JsonMember> out;
  Walker walker(text, at);
  if (!WalkObject(text, &walker, &out, [](std::string_view) { return false; })) return std::nullopt;
  return out;
}

std::optional<JsonObject> FindJsonObject(std::string_view text, std::initializer_list<std::string_view> path,
                                         std::vector<JsonMember>* root) {
  std::optional<JsonObject> found;
  Walker walker(text, 0);
  // As deep as the path is long, whatever the text.
  auto descend = [&](auto& self, const std::string_view* key) -> bool {
    walker.SkipBlanks();
    if (walker.peek() != '{') return walker.SkipValue();
    if (key == path.end()) {
      JsonObject object;
      object.span.begin = walker.at();
      if (!WalkObject(text, &walker, &object.members, [](std::string_view) { return false; })) return false;
      object.span.end = walker.at();
      found = std::move(object);
      return true;
    }
    return WalkObject(text, &walker, key == path.begin() ? root : nullptr, [&](std::string_view name) {
      if (name != *key) return false;
      // Of two with one name the last counts, whatever it is.
      found.reset();
      return self(self, key + 1);
    });
  };
  if (!descend(descend, path.begin())) return std::nullopt;
  walker.SkipBlanks();
  if (!walker.done()) return std::nullopt;
  return found;
}

std::optional<std::vector<JsonSpan>> JsonArrayAt(std::string_view text, size_t at) {
  std::vector<JsonSpan> out;
  Walker walker(text, at);
  walker.SkipBlanks();
  if (!walker.Take('[')) return std::nullopt;
  walker.SkipBlanks();
  if (walker.Take(']')) return out;
  for (;;) {
    walker.SkipBlanks();
    JsonSpan span;
    span.begin = walker.at();
    if (!walker.SkipValue()) return std::nullopt;
    span.end = walker.at();
    out.push_back(span);
    walker.SkipBlanks();
    if (walker.Take(']')) return out;
    if (!walker.Take(',')) return std::nullopt;
  }
}

std::string JsonQuote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4U];
      out += kHex[static_cast<unsigned char>(c) & 15U];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace lc
