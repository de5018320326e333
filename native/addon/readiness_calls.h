// What JavaScript may call to wait for a descriptor.
#pragma once

#include <napi.h>

namespace lc::addon {

void ExportReadinessCalls(Napi::Env env, Napi::Object exports);

}  // namespace lc::addon
