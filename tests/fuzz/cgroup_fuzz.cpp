// /proc/PID/cgroup and memory.events: any text gives what a plain reader makes of it.

#include "sys/cgroup.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

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

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text{reinterpret_cast<const char*>(data), size};
    for (const auto version : {sys::CgroupVersion::v1, sys::CgroupVersion::v2}) {
        must(sys::memory_cgroup_of(text, version) == group_of(text, version));
    }
    const sys::MemoryEvents events = sys::parse_memory_events(text);
    must(events.oom == counter_of(text, "oom"));
    must(events.oom_kill == counter_of(text, "oom_kill"));
    return 0;
}
