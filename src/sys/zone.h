// Zone: how far local time is ahead of UTC at a given moment, from the environment variable TZ and
// the system's zone files (RFC 9636, all versions), as glibc would have it. Ours, because musl's
// localtime_r brings a heap with it, and so that a zone costs no memory: only the interval around
// the last question is kept, and the file is opened again when a question falls outside it, which
// is twice a year. A file that is missing, cut off or hostile gives UTC and nothing worse.
#pragma once

#include "sys/zone_rule.h"

#include <cstdint>

namespace sys {

class Zone {
  public:
    // `tz` is the value of TZ, or nullptr if it is not set; it must live as long as the zone.
    //
    //     not set        /etc/localtime
    //     "", ":"        UTC
    //     /path          that file
    //     name           that file below /usr/share/zoneinfo, or else what it says (ZoneRule)
    //
    // One ':' in front of a path or a name is skipped. What is none of these is UTC.
    static constexpr Zone create(const char* tz) { return Zone{tz}; }

    // Seconds by which local time is ahead of UTC, more than -26 and less than 26 hours.
    int32_t offset_at(int64_t unix_seconds) {
        bool has_looked = false;
        return offset_at(unix_seconds, has_looked);
    }

    // Sets `has_looked` if the zone files had to be looked at.
    int32_t offset_at(int64_t unix_seconds, bool& has_looked) {
        if (!interval_.contains(unix_seconds)) {
            has_looked = true;
            find_interval(unix_seconds);
        }
        return interval_.offset_s;
    }

  private:
    constexpr explicit Zone(const char* tz) : tz_{tz} {}

    void find_interval(int64_t unix_seconds);

    const char* tz_;
    ZoneInterval interval_{.from = 0, .until = 0};
};

} // namespace sys
