// Figures as a JavaScript object, by the walk of cgroup/stats_visit.h.
#pragma once

#include <napi.h>

#include "cgroup/stats.h"

namespace lc::addon {

Napi::Object StatsObject(Napi::Env env, const Stats& stats);

}  // namespace lc::addon
