// A seccomp filter with the same answers in fewer instructions.
#include "seccomp/shrink.h"

#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace lc::seccomp {
namespace {

using Code = std::vector<sock_filter>;

constexpr uint16_t kLoad = BPF_LD | BPF_W | BPF_ABS;
constexpr uint16_t kReturn = BPF_RET | BPF_K;
constexpr uint16_t kJump = BPF_JMP | BPF_JA;
constexpr uint16_t kIfEqual = BPF_JMP | BPF_JEQ | BPF_K;
constexpr uint16_t kIfGreater = BPF_JMP | BPF_JGT | BPF_K;
constexpr uint16_t kIfNotLess = BPF_JMP | BPF_JGE | BPF_K;
constexpr uint16_t kIfSet = BPF_JMP | BPF_JSET | BPF_K;
constexpr uint16_t kToTail = 0xffff;       // while it is built: a jump to instruction k of the old program
constexpr size_t kFarthest = 255;          // of a conditional jump
constexpr uint32_t kLeastBit = 1U << 28U;  // that is asked for by itself: x32 calls have bit 30

// What is known once architecture and number of a call are: the answer, or the instruction from which on its
// arguments decide.
struct Outcome {
  bool decided = false;
  uint32_t value = 0;
  bool operator==(const Outcome&) const = default;
};

// Where intervals of values begin that no comparison tells apart.
using Points = std::set<uint32_t>;

struct Notes {
  Points architectures{0};
  Points numbers{0};
  std::set<std::pair<size_t, bool>> taken;  // instructions that are noted already, of an architecture or not

  // Values from `value` on may be told from those before it.
  void Add(bool architecture, uint64_t value) {
    if (value <= UINT32_MAX) (architecture ? architectures : numbers).insert(static_cast<uint32_t>(value));
  }
  void Take(size_t at, const sock_filter& one, bool architecture);
};

void Notes::Take(size_t at, const sock_filter& one, bool architecture) {
  if (!taken.emplace(at, architecture).second) return;
  if (one.code == kIfEqual || one.code == kIfNotLess) Add(architecture, one.k);
  if (one.code == kIfEqual || one.code == kIfGreater) Add(architecture, uint64_t{one.k} + 1);
  for (uint64_t next = one.k; one.code == kIfSet && next <= UINT32_MAX; next += one.k)
    Add(architecture, next);
}

bool IsTest(const sock_filter& one) {
  return one.code == kIfEqual || one.code == kIfGreater || one.code == kIfNotLess ||
         (one.code == kIfSet && std::has_single_bit(one.k) && one.k >= kLeastBit);
}

bool Holds(const sock_filter& test, uint32_t value) {
  if (test.code == kIfEqual) return value == test.k;
  if (test.code == kIfGreater) return value > test.k;
  if (test.code == kIfNotLess) return value >= test.k;
  return (value & test.k) != 0;
}

// Follows a program for one architecture and number, and notes what they are compared with.
std::optional<Outcome> Walk(const Code& code, uint32_t architecture, uint32_t number, Notes* notes) {
  bool loaded = false;
  bool is_architecture = false;
  for (size_t at = 0; at < code.size(); ++at) {
    const sock_filter& one = code[at];
    if (one.code == kReturn) return Outcome{true, one.k};
    if (one.code == kLoad) {
      if (one.k != offsetof(seccomp_data, nr) && one.k != offsetof(seccomp_data, arch))
        return Outcome{false, static_cast<uint32_t>(at)};
      loaded = true;
      is_architecture = one.k == offsetof(seccomp_data, arch);
    } else if (one.code == kJump) {
      at += one.k;
    } else if (loaded && IsTest(one)) {
      if (notes != nullptr) notes->Take(at, one, is_architecture);
      at += Holds(one, is_architecture ? architecture : number) ? one.jt : one.jf;
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

using Ranges = std::vector<std::pair<uint32_t, Outcome>>;  // where each begins; the first at 0

struct Answers {
  Notes notes;
  std::vector<std::pair<uint32_t, Ranges>> by_architecture;  // where each interval of them begins
};

std::optional<Answers> AnswersOf(const Code& code) {
  Answers out;
  // Until nothing is compared with anything new: then all values of an interval go the way of its first.
  Notes& notes = out.notes;
  for (size_t known = 0; known != notes.architectures.size() + notes.numbers.size();) {
    known = notes.architectures.size() + notes.numbers.size();
    Points architectures = notes.architectures;
    Points numbers = notes.numbers;
    for (uint32_t architecture : architectures) {
      for (uint32_t number : numbers) {
        if (!Walk(code, architecture, number, &notes)) return std::nullopt;
      }
    }
  }
  for (uint32_t architecture : notes.architectures) {
    Ranges ranges;
    for (uint32_t number : notes.numbers) {
      Outcome outcome = *Walk(code, architecture, number, nullptr);
      if (ranges.empty() || ranges.back().second != outcome) ranges.emplace_back(number, outcome);
    }
    if (out.by_architecture.empty() || out.by_architecture.back().second != ranges)
      out.by_architecture.emplace_back(architecture, std::move(ranges));
  }
  return out;
}

// Code that chooses among ranges by the value that is loaded. No leaf falls through.
template <typename Range, typename Leaf>
Code Tree(const Range* begin, const Range* end, const Leaf& leaf) {
  if (end - begin == 1) return leaf(begin->second);
  const Range* middle = begin + (end - begin) / 2;
  Code low = Tree(begin, middle, leaf);
  Code high = Tree(middle, end, leaf);
  Code out;
  if (low.size() <= kFarthest) {
    out.push_back({kIfNotLess, static_cast<uint8_t>(low.size()), 0, middle->first});
  } else {
    out.push_back({kIfNotLess, 0, 1, middle->first});
    out.push_back({kJump, 0, 0, static_cast<uint32_t>(low.size())});
  }
  out.insert(out.end(), low.begin(), low.end());
  out.insert(out.end(), high.begin(), high.end());
  return out;
}

Code Decide(const Outcome& outcome) {
  return {{outcome.decided ? kReturn : kToTail, 0, 0, outcome.value}};
}

Code Choose(const Ranges& ranges) {
  Code out;
  if (ranges.size() > 1) out.push_back({kLoad, 0, 0, offsetof(seccomp_data, nr)});
  Code tree = Tree(ranges.data(), ranges.data() + ranges.size(), Decide);
  out.insert(out.end(), tree.begin(), tree.end());
  return out;
}

// Those instructions of the old program that the new one still runs: all that can come after an entry.
std::vector<bool> Reachable(const Code& old, const Code& entries) {
  std::vector<bool> out(old.size() + 1);
  for (const sock_filter& one : entries) {
    if (one.code == kToTail) out[one.k] = true;
  }
  auto reach = [&](size_t at) { out[std::min(at, old.size())] = true; };
  // Jumps lead forward alone.
  for (size_t at = 0; at < old.size(); ++at) {
    if (!out[at] || BPF_CLASS(old[at].code) == BPF_RET) continue;
    if (old[at].code == kJump) {
      reach(at + 1 + old[at].k);
    } else if (BPF_CLASS(old[at].code) == BPF_JMP) {
      reach(at + 1 + old[at].jt);
      reach(at + 1 + old[at].jf);
    } else {
      reach(at + 1);
    }
  }
  return out;
}

// `places`: where instructions of the old program are in the new one.
std::optional<Code> Assemble(const Code& old, const Answers& answers, std::map<size_t, size_t>* places) {
  Code out{{kLoad, 0, 0, offsetof(seccomp_data, arch)}};
  const auto& by = answers.by_architecture;
  Code tree = Tree(by.data(), by.data() + by.size(), Choose);
  out.insert(out.end(), tree.begin(), tree.end());
  std::vector<bool> kept = Reachable(old, out);
  if (kept[old.size()]) return std::nullopt;  // it runs past its end
  size_t head = out.size();
  for (size_t at = 0, next = head; at < old.size(); ++at) {
    if (kept[at]) (*places)[at] = next++;
  }
  for (size_t at = 0; at < head; ++at) {
    if (out[at].code == kToTail)
      out[at] = {kJump, 0, 0, static_cast<uint32_t>(places->at(out[at].k) - (at + 1))};
  }
  for (const auto& [at, place] : *places) {
    sock_filter one = old[at];
    auto distance = [&, from = place, here = at](size_t jump) {
      return places->at(here + 1 + jump) - (from + 1);
    };
    if (one.code == kJump) {
      one.k = static_cast<uint32_t>(distance(one.k));
    } else if (BPF_CLASS(one.code) == BPF_JMP) {
      // Nothing comes in between, so it is no farther than it was.
      one.jt = static_cast<uint8_t>(distance(one.jt));
      one.jf = static_cast<uint8_t>(distance(one.jf));
    }
    out.push_back(one);
  }
  return out;
}

bool IsSame(const Code& old, const Code& shrunk, const Answers& answers,
            const std::map<size_t, size_t>& places) {
  Points architectures = answers.notes.architectures;
  Points numbers = answers.notes.numbers;
  for (Points* points : {&architectures, &numbers}) {
    for (uint32_t point : Points(*points)) points->insert(point - 1);  // the last of the interval before
  }
  for (uint32_t architecture : architectures) {
    for (uint32_t number : numbers) {
      auto before = Walk(old, architecture, number, nullptr);
      auto after = Walk(shrunk, architecture, number, nullptr);
      if (!before || !after || before->decided != after->decided) return false;
      if (before->decided ? before->value != after->value : places.at(before->value) != after->value)
        return false;
    }
  }
  return true;
}

}  // namespace

std::string Shrink(const std::string& program) {
  // The kernel's own bounds.
  if (program.size() < sizeof(sock_filter) || program.size() > BPF_MAXINSNS * sizeof(sock_filter))
    return program;
  Code old(program.size() / sizeof(sock_filter));
  memcpy(old.data(), program.data(), old.size() * sizeof(sock_filter));
  auto answers = AnswersOf(old);
  if (!answers) return program;
  std::map<size_t, size_t> places;
  auto shrunk = Assemble(old, *answers, &places);
  if (!shrunk || shrunk->size() >= old.size() || !IsSame(old, *shrunk, *answers, places)) return program;
  return {reinterpret_cast<const char*>(shrunk->data()), shrunk->size() * sizeof(sock_filter)};
}

}  // namespace lc::seccomp
