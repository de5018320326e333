// Resources from JSON, the same text that `runc update -r -` takes.
#pragma once

#include <string_view>

#include "cgroup/update/resources.h"
#include "core/result.h"

namespace lc {

// ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE with a text that names the field ("cpu.shares must be ..."),
// whose name is in `path` too. Numbers are exact to 64 bits. null is as good as left out. Fields that the
// specification does not have are refused: a misspelt limit must not be lost; so are `devices` and `network`,
// which no update changes (ERR_UNSUPPORTED).
Result<Resources> ParseResources(std::string_view json);

}  // namespace lc
