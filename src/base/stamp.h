// Stamp: the time in front of every record, as RFC 3339 with nanoseconds and the local zone:
// "2026-01-31T23:59:59.123456789+05:30", always 35 characters. The date, the clock and the zone are
// formatted when the second or the zone changes; otherwise only the nanoseconds are patched. Pure:
// the caller reads the clock and knows the zone.
#pragma once

#include "base/bytes.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace base {

class Stamp {
  public:
    static constexpr size_t size = 35;

    // Makes the text of an instant: `unix_seconds` since 1970 in UTC, `nanoseconds` within the
    // second (0 to 999,999,999; more counts as that), `offset_s` seconds by which local time is
    // ahead of UTC. The text is always a valid RFC 3339 time: the seconds of an offset are cut from
    // the zone and from the clock alike, so that the instant stays right, an offset of a day or
    // more counts as 23:59, and what would leave the years 0000 to 9999 stays at their edge.
    void set(int64_t unix_seconds, uint32_t nanoseconds, int32_t offset_s) {
        if (!formatted_ || unix_seconds != unix_seconds_ || offset_s != offset_s_) {
            format_second(unix_seconds, offset_s);
        }
        patch_nanoseconds(nanoseconds);
    }

    // The text of the last set(), 35 characters; it changes with the next one. Before the first
    // set() there is none to ask for.
    [[nodiscard]] std::string_view view() const {
        CHECK(formatted_);
        return {text_, size};
    }

  private:
    void format_second(int64_t unix_seconds, int32_t offset_s);
    void patch_nanoseconds(uint32_t nanoseconds);

    int64_t unix_seconds_ = 0;
    int32_t offset_s_ = 0;
    bool formatted_ = false;
    char text_[size] = {};
};

} // namespace base
