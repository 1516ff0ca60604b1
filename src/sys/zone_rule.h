// ZoneRule: a time zone in the words of the environment variable TZ of POSIX, without any file:
// "CET-1CEST,M3.5.0,M10.5.0/3", "<+0530>-5:30". Zone files end with such a rule too, for the time
// after their last entry. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sys {

// How far local time is ahead of UTC, and from when until when that holds.
struct ZoneInterval {
    int64_t from = INT64_MIN;  // the first unix second
    int64_t until = INT64_MAX; // the first unix second after it
    int32_t offset_s = 0;

    [[nodiscard]] bool contains(int64_t unix_seconds) const {
        return from <= unix_seconds && unix_seconds < until;
    }
};

class ZoneRule {
  public:
    // Reads the POSIX form (Base Definitions, section 8.3) with the additions of RFC 9636: names in
    // angle brackets, and times of change from -167 to 167 hours. Without dates of change, those of
    // the United States are meant. Nothing for any other text, and for one with something behind.
    static std::optional<ZoneRule> parse(std::string_view text);

    // `unix_seconds` lies within the years -30000 and 30000. The interval contains it, and may be
    // shorter than the longest possible.
    [[nodiscard]] ZoneInterval interval_at(int64_t unix_seconds) const;

  private:
    class Reader;

    // The day and the local time of a change, in every year.
    struct Change {
        enum class Kind : uint8_t {
            day_of_month, // M: `day` is a weekday, 0 is Sunday, in its `week`, 5 is the last
            day_without_leap_day, // J: `day` from 1 to 365, 60 is always 1 March
            day_of_year,          // `day` from 0 to 365, the leap day counted
        };

        Kind kind = Kind::day_of_month;
        uint8_t month = 0;
        uint8_t week = 0;
        uint16_t day = 0;
        int32_t time_s = 2 * 3'600;

        // The change in a year, in seconds since 1970 of the clock that it is stated in.
        [[nodiscard]] int64_t in_year(int64_t year) const;
    };

    bool has_summer_ = false;
    int32_t offset_s_ = 0;
    int32_t summer_offset_s_ = 0;
    Change summer_begins_; // by the clock of the other half of the year, likewise below
    Change summer_ends_;
};

} // namespace sys
