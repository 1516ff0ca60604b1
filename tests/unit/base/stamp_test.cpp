#include "base/stamp.h"

#include <cstdio>
#include <ctime>
#include <random>
#include <string>

#include <catch2/catch.hpp>

using base::Stamp;

namespace {

std::string stamp_of(int64_t seconds, uint32_t nanoseconds, int32_t offset_s) {
    Stamp stamp;
    stamp.set(seconds, nanoseconds, offset_s);
    return std::string{stamp.view()};
}

// The same text by the C library, for an offset of whole minutes below a day.
std::string expected_of(int64_t seconds, uint32_t nanoseconds, int32_t offset_s) {
    const time_t local = seconds + offset_s;
    std::tm parts{};
    (void)gmtime_r(&local, &parts);
    const int minutes = (offset_s < 0 ? -offset_s : offset_s) / 60;
    char text[80];
    (void)std::snprintf(text,
                        sizeof text,
                        "%04d-%02d-%02dT%02d:%02d:%02d.%09u%c%02d:%02d",
                        parts.tm_year + 1900,
                        parts.tm_mon + 1,
                        parts.tm_mday,
                        parts.tm_hour,
                        parts.tm_min,
                        parts.tm_sec,
                        nanoseconds,
                        offset_s < 0 ? '-' : '+',
                        minutes / 60,
                        minutes % 60);
    return text;
}

constexpr int64_t year_0000 = -62'167'219'200;
constexpr int64_t year_9999_end = 253'402'300'799;

} // namespace

TEST_CASE("a stamp is RFC 3339 with nine digits and a numeric zone (regression 61)") {
    REQUIRE(stamp_of(0, 0, 0) == "1970-01-01T00:00:00.000000000+00:00");
    REQUIRE(stamp_of(1'700'000'000, 123'456'789, 19'800) == "2023-11-15T03:43:20.123456789+05:30");
    REQUIRE(stamp_of(1'700'000'000, 1, -12'600) == "2023-11-14T18:43:20.000000001-03:30");
    REQUIRE(stamp_of(1'700'000'000, 999'999'999, 45'900) == "2023-11-15T10:58:20.999999999+12:45");
    REQUIRE(stamp_of(951'782'400, 10, -1'800) == "2000-02-28T23:30:00.000000010-00:30");
    REQUIRE(stamp_of(951'782'400, 10, 0) == "2000-02-29T00:00:00.000000010+00:00");
}

TEST_CASE("every day of 800 years, and every 37th of ten thousand, has the C library's date") {
    // Each day once, at a second that varies from day to day.
    constexpr int64_t year_1600_day = -135'140;
    constexpr int64_t year_2400_day = 157'054;
    Stamp stamp;
    int64_t count = 0;
    for (int64_t day = year_0000 / 86'400; day <= year_9999_end / 86'400; ++count) {
        const int64_t seconds = day * 86'400 + (count * 7'919) % 86'400;
        stamp.set(seconds, 0, 0);
        const std::string expected = expected_of(seconds, 0, 0);
        if (stamp.view() != expected) {
            REQUIRE(stamp.view() == expected);
        }
        day += day >= year_1600_day && day < year_2400_day ? 1 : 37;
    }
    REQUIRE(count > 292'194 + 90'000);
}

TEST_CASE("random instants, zones and nanoseconds in one stamp agree with the C library") {
    std::mt19937_64 random{20'260'131};
    Stamp stamp;
    for (int turn = 0; turn < 50'000; ++turn) {
        const auto seconds = static_cast<int64_t>(random() % 4'000'000'000) - 1'000'000'000;
        const auto offset_s = (static_cast<int32_t>(random() % 2'879) - 1'439) * 60;
        for (int patch = 0; patch < 3; ++patch) {
            const auto nanoseconds = static_cast<uint32_t>(random() % 1'000'000'000);
            stamp.set(seconds, nanoseconds, offset_s);
            const std::string expected = expected_of(seconds, nanoseconds, offset_s);
            if (stamp.view() != expected) {
                REQUIRE(stamp.view() == expected);
            }
        }
    }
}

TEST_CASE("nanoseconds around every power of ten are exact") {
    Stamp stamp;
    char digits[16];
    for (uint64_t power = 1; power <= 1'000'000'000; power *= 10) {
        for (uint64_t factor = 1; factor <= 10; ++factor) {
            for (const uint64_t value : {power * factor - 1, power * factor, power * factor + 1}) {
                if (value < 1'000'000'000) {
                    stamp.set(0, static_cast<uint32_t>(value), 0);
                    (void)std::snprintf(
                        digits, sizeof digits, "%09u", static_cast<unsigned>(value));
                    REQUIRE(stamp.view().substr(20, 9) == digits);
                }
            }
        }
    }
    stamp.set(0, UINT32_MAX, 0);
    REQUIRE(stamp.view().substr(20, 9) == "999999999");
}

TEST_CASE("only a change of the zone changes the zone and the clock within a second") {
    Stamp stamp;
    stamp.set(86'400, 5, 0);
    stamp.set(86'400, 6, 3'600);
    REQUIRE(stamp.view() == "1970-01-02T01:00:00.000000006+01:00");
    stamp.set(86'400, 7, -3'600);
    REQUIRE(stamp.view() == "1970-01-01T23:00:00.000000007-01:00");
    stamp.set(86'401, 7, -3'600);
    REQUIRE(stamp.view() == "1970-01-01T23:00:01.000000007-01:00");
}

TEST_CASE("the seconds of an offset are cut and the instant stays right") {
    REQUIRE(stamp_of(0, 0, -2'670) == "1969-12-31T23:16:00.000000000-00:44"); // Liberia, 1970
    REQUIRE(stamp_of(0, 0, 1'172) == "1970-01-01T00:19:00.000000000+00:19");
    REQUIRE(stamp_of(0, 0, -59) == "1970-01-01T00:00:00.000000000+00:00");
}

TEST_CASE("an absurd time or zone still gives a valid stamp") {
    REQUIRE(stamp_of(INT64_MIN, 0, INT32_MIN) == "0000-01-01T00:00:00.000000000-23:59");
    REQUIRE(stamp_of(INT64_MAX, 0, INT32_MAX) == "9999-12-31T23:59:59.000000000+23:59");
    REQUIRE(stamp_of(year_0000, 0, -60) == "0000-01-01T00:00:00.000000000-00:01");
    REQUIRE(stamp_of(year_0000 - 60, 0, 60) == "0000-01-01T00:00:00.000000000+00:01");
    REQUIRE(stamp_of(year_0000 + 59, 0, 0) == "0000-01-01T00:00:59.000000000+00:00");
    REQUIRE(stamp_of(year_9999_end, 0, 60) == "9999-12-31T23:59:59.000000000+00:01");
    REQUIRE(stamp_of(year_9999_end + 60, 0, -60) == "9999-12-31T23:59:59.000000000-00:01");
    REQUIRE(stamp_of(year_9999_end - 58, 0, 0) == "9999-12-31T23:59:01.000000000+00:00");
}
