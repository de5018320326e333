// Figures as a JavaScript object, by the walk of cgroup/stats/visit.h.
#pragma once

#include <napi.h>

#include "cgroup/stats/stats.h"

namespace lc::addon {

Napi::Object StatsObject(Napi::Env env, const Stats& stats);

}  // namespace lc::addon
