// runc's state.json changed in place, while runc, which takes no lock, may be saving it too.
#pragma once

#include <string>

#include "cgroup/plan.h"
#include "cgroup/resources.h"
#include "core/result.h"

namespace lc {

// Whoever reads the file sees a whole version; nothing that another hand saved meanwhile is lost: it is found
// out and patched as well. (What another hand read before and saves afterwards is beyond anyone's reach.)
// ERR_STATE_CORRUPT, and the file as it was, where it is no record.
Status PatchRecordFile(const std::string& path, const Resources& resources, const PlanOptions& options);

}  // namespace lc
