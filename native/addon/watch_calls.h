// What JavaScript may call to watch a container's cgroup.
#pragma once

#include <napi.h>

namespace lc::addon {

void ExportWatchCalls(Napi::Env env, Napi::Object exports);

}  // namespace lc::addon
