// The JavaScript side's handle of a LiveContainer.
#pragma once

#include <napi.h>

#include <memory>

#include "container/live_container.h"

namespace lc::addon {

using LivePointer = std::shared_ptr<LiveContainer>;

// The container in the External that OpenContainer of module.cc made.
inline LivePointer ToLive(const Napi::Value& value) {
  return *value.As<Napi::External<LivePointer>>().Data();
}

}  // namespace lc::addon
