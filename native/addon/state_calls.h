// What JavaScript may call to read state directories.
#pragma once

#include <napi.h>

namespace lc::addon {

void ExportStateCalls(Napi::Env env, Napi::Object exports);

}  // namespace lc::addon
