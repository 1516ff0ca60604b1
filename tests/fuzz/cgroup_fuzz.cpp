// /proc/PID/cgroup and memory.events: any text gives what a plain reader makes of it, and the path
// of the group that it names, unless that is too long.

#include "sys/cgroup.h"

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr pid_t pid = 40'000'000; // nobody's
const int listed = ::memfd_create("cgroup", MFD_CLOEXEC);

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts{""};
    for (const char c : text) {
        if (c == separator) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

std::optional<std::string> group_of(const std::string& text, sys::CgroupVersion version) {
    for (const std::string& line : split(text, '\n')) {
        const size_t first = line.find(':');
        const size_t second =
            first == std::string::npos ? std::string::npos : line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        bool found = version == sys::CgroupVersion::v2 && line.starts_with("0::");
        if (version == sys::CgroupVersion::v1) {
            for (const std::string& one : split(controllers, ',')) {
                found = found || one == "memory";
            }
        }
        if (found) {
            return line.substr(second + 1);
        }
    }
    return std::nullopt;
}

uint64_t counter_of(const std::string& text, const std::string& name) {
    uint64_t value = 0;
    for (const std::string& line : split(text, '\n')) {
        if (!line.starts_with(name + ' ')) {
            continue;
        }
        const std::string digits = line.substr(name.size() + 1);
        if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) {
            continue;
        }
        errno = 0;
        const unsigned long long number = std::strtoull(digits.c_str(), nullptr, 10);
        if (errno == 0) {
            value = number; // the last one counts
        }
    }
    return value;
}

void check_path(const std::string& text, sys::CgroupVersion version) {
    must(::ftruncate(listed, 0) == 0 &&
         ::pwrite(listed, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    must(::lseek(listed, 0, SEEK_SET) == 0);
    base::Text<300> path;
    const auto put = sys::put_memory_cgroup(path, pid, version);
    const auto group = group_of(text, version);
    const std::string root =
        version == sys::CgroupVersion::v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    const bool fits = group && root.size() + group->size() <= 300;
    if (text.size() < 16'000) {
        must(put.has_value() == fits && (!put || path.view() == root + *group));
    }
    if (!put) {
        must(put.error().code != 0);
    }
}

} // namespace

// In place of the C library's: the file of a process that there is not.
extern "C" int openat(int directory, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const auto mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (std::string_view{path} == "/proc/" + std::to_string(pid) + "/cgroup") {
        return ::fcntl(listed, F_DUPFD_CLOEXEC, 0);
    }
    return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text{reinterpret_cast<const char*>(data), size};
    for (const auto version : {sys::CgroupVersion::v1, sys::CgroupVersion::v2}) {
        must(sys::memory_cgroup_of(text, version) == group_of(text, version));
        check_path(text, version);
    }
    (void)sys::cgroup_version();
    const sys::MemoryEvents events = sys::parse_memory_events(text);
    must(events.oom == counter_of(text, "oom"));
    must(events.oom_kill == counter_of(text, "oom_kill"));
    return 0;
}
