// Reads a seccomp profile: as the OCI config words it, and as runc records it.
#pragma once

#include <string>

#include "core/json.h"
#include "core/result.h"
#include "oci/seccomp.h"

namespace lc {

// `linux.seccomp` of an OCI config. ERR_STATE_CORRUPT with `path` where it is garbled, ERR_UNSUPPORTED where
// it asks for what is not known here: a rule that were passed over might be the one that confines.
Result<SeccompProfile> ParseOciSeccomp(const JsonValue& json, const std::string& path);

// `config.seccomp` of runc's state.json: actions and operators are numbers, architectures have Go's names.
Result<SeccompProfile> ParseRuncSeccomp(const JsonValue& json, const std::string& path);

}  // namespace lc
