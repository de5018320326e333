// Each protection against a hole of the past can be switched off by its name in a build for test/security,
// where the test that watches for the hole is shown to notice it. In every other build nothing of this is
// left.
#pragma once

#ifdef LIBCONTAINER_WEAKENED
#include <cstdlib>
#include <cstring>
#endif

namespace lc {

#ifdef LIBCONTAINER_WEAKENED
inline bool Without(const char* protection) {
  const char* named = getenv("LIBCONTAINER_WITHOUT");
  return named != nullptr && strcmp(named, protection) == 0;
}
#else
constexpr bool Without(const char*) {
  return false;
}
#endif

}  // namespace lc
