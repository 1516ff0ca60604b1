#include "sys/cgroup.h"

#include "base/scan.h"
#include "sys/calls.h"
#include "sys/file.h"

#include <array>
#include <cerrno>

namespace sys {

using base::Bytes;
using base::fail;
using base::Result;
using base::Split;
using base::split_once;
using base::Text;

namespace {

constexpr const char* cgroup_root = "/sys/fs/cgroup";
constexpr auto cgroup2_magic = 0x63677270; // CGROUP2_SUPER_MAGIC of <linux/magic.h>

bool names_memory(std::string_view controllers) {
    for (;;) {
        const Split split = split_once(controllers, ',');
        if (split.head == "memory") {
            return true;
        }
        if (!split.tail) {
            return false;
        }
        controllers = *split.tail;
    }
}

} // namespace

CgroupVersion cgroup_version() {
    struct statfs status{};
    const bool unified = sys::statfs(cgroup_root, &status) == 0 &&
                         static_cast<unsigned long>(status.f_type) == cgroup2_magic;
    return unified ? CgroupVersion::v2 : CgroupVersion::v1;
}

std::optional<std::string_view> memory_cgroup_of(std::string_view text, CgroupVersion version) {
    while (const auto line = base::next_line(text)) {
        // ID:CONTROLLERS:PATH, and the path may hold colons.
        const Split id = split_once(*line, ':');
        const Split controllers = split_once(id.tail ? *id.tail : std::string_view{}, ':');
        if (!controllers.tail) {
            continue;
        }
        const bool found = version == CgroupVersion::v2 ? id.head == "0" && controllers.head.empty()
                                                        : names_memory(controllers.head);
        if (found) {
            return controllers.tail;
        }
    }
    return std::nullopt;
}

MemoryEvents parse_memory_events(std::string_view text) {
    MemoryEvents events;
    while (const auto line = base::next_line(text)) {
        const Split split = split_once(*line, ' ');
        const auto value =
            split.tail ? base::parse_int<uint64_t>(*split.tail) : std::optional<uint64_t>{};
        if (!value) {
            continue;
        }
        if (split.head == "oom") {
            events.oom = *value;
        } else if (split.head == "oom_kill") {
            events.oom_kill = *value;
        }
    }
    return events;
}

Result<void> put_memory_cgroup(base::TextSink& path, pid_t pid, CgroupVersion version) {
    Text<32> source;
    source.put("/proc/").put_dec(pid).put("/cgroup");
    std::array<std::byte, 16'384>
        buffer; // v1 has a line, and a path, for each of a dozen controllers
    const Bytes content = TRY(read_small(source.c_str(), buffer));
    const auto group = memory_cgroup_of(base::text_of(content), version);
    if (!group) {
        return fail(ENOENT, "find memory controller");
    }
    path.put(cgroup_root).put(version == CgroupVersion::v1 ? "/memory" : "").put(*group);
    if (path.overflowed()) {
        return fail(ENAMETOOLONG, "find memory controller");
    }
    return {};
}

} // namespace sys
