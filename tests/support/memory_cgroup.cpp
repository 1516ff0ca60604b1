// Finds the controller, and writes to its files.

#include "support/memory_cgroup.h"

#include "support/files.h"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

namespace support {

namespace {

constexpr const char* v1_root = "/sys/fs/cgroup/memory";
constexpr auto cgroup2_magic = 0x63677270; // of <linux/magic.h>

bool is_cgroup2(const std::string& path) {
    struct statfs status{};
    return ::statfs(path.c_str(), &status) == 0 && status.f_type == cgroup2_magic;
}

} // namespace

std::string cgroup2_root() {
    for (const std::string path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        if (is_cgroup2(path)) {
            return path;
        }
    }
    return "";
}

MemoryCgroup::MemoryCgroup(const std::string& name)
    : is_v1_(!is_cgroup2("/sys/fs/cgroup")),
      path_((is_v1_ ? std::string(v1_root) : std::string("/sys/fs/cgroup")) + "/mote-test-" +
            std::to_string(::getpid()) + "-" + name) {
    if (!is_v1_) {
        // Refused where it is enabled already, or cannot be; the file below tells.
        try {
            write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        } catch (const Broken&) {
        }
    }
    if (::mkdir(path_.c_str(), 0755) != 0) {
        throw Broken("mkdir " + path_);
    }
    if (type_of(path_ + (is_v1_ ? "/memory.oom_control" : "/memory.events")) == 0) {
        ::rmdir(path_.c_str());
        throw Broken("a memory controller in " + path_);
    }
}

MemoryCgroup::~MemoryCgroup() {
    eventually([this] { return try_remove(); });
}

void MemoryCgroup::limit(uint64_t bytes) const {
    const std::string text = std::to_string(bytes);
    write_file(path_ + (is_v1_ ? "/memory.limit_in_bytes" : "/memory.max"), text);
    // Swap would only put off the end.
    const std::string swap = path_ + (is_v1_ ? "/memory.memsw.limit_in_bytes" : "/memory.swap.max");
    if (type_of(swap) != 0) {
        write_file(swap, is_v1_ ? text : "0");
    }
}

bool MemoryCgroup::try_remove() {
    is_removed_ = is_removed_ || ::rmdir(path_.c_str()) == 0;
    return is_removed_;
}

} // namespace support
