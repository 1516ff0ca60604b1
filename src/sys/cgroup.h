// Control groups: where a process is, and what its memory controller counted. The formats are the
// kernel's (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).
#pragma once

#include "base/text.h"
#include "sys/fd.h"

#include <optional>

#include <sys/types.h>

namespace sys {

enum class CgroupVersion : uint8_t { v1, v2 };

// v2 only if /sys/fs/cgroup itself is a cgroup2 file system; a mixture counts as v1.
CgroupVersion cgroup_version();

// The path, from the hierarchy's root, of the memory controller's group in the text of
// /proc/PID/cgroup: of the line "0::/path" (v2), or of the line whose controllers include "memory".
std::optional<std::string_view> memory_cgroup_of(std::string_view text, CgroupVersion version);

struct MemoryEvents {
    uint64_t oom = 0;
    uint64_t oom_kill = 0;

    bool operator==(const MemoryEvents&) const = default;
};

// The two counters in the text of memory.events; a missing or odd line counts 0.
MemoryEvents parse_memory_events(std::string_view text);

// Puts the directory of the memory controller's group of `pid`, such as
// "/sys/fs/cgroup/memory/user.slice". ENOENT: it has none. ESRCH, ENOENT of "open": it has gone.
base::Result<void> put_memory_cgroup(base::TextSink& path, pid_t pid, CgroupVersion version);

} // namespace sys
