// The calendar is the Gregorian one without a beginning, as RFC 3339 has it. Days are counted from
// 1 March of the year 0, so that the leap day is the last day of its year.

#include "base/stamp.h"

#include <algorithm>

namespace base {

namespace {

constexpr int64_t seconds_per_day = 86'400;
constexpr uint32_t days_per_400_years = 146'097;
constexpr int64_t days_0000_03_01_to_1970 = 719'468;

// The first and the last second that four digits of a year can name.
constexpr int64_t clock_min = -62'167'219'200; // 0000-01-01T00:00:00
constexpr int64_t clock_max = 253'402'300'799; // 9999-12-31T23:59:59

constexpr int32_t zone_minutes_max = 23 * 60 + 59;

struct Date {
    uint32_t year;
    uint32_t month; // 1 to 12
    uint32_t day;   // 1 to 31
};

// The date of a day since 1970, from the year 0000 to the year 9999.
constexpr Date date_of(int64_t unix_day) {
    // January and February of the year 0000 lie before the first of our years: one period of 400
    // years is added here and taken off the year again.
    const auto day = static_cast<uint32_t>(unix_day + days_0000_03_01_to_1970) + days_per_400_years;
    const uint32_t period = day / days_per_400_years;
    const uint32_t day_of_period = day % days_per_400_years;
    // A year has 365 days and one more for every 4th, not for every 100th, but for every 400th.
    const uint32_t year_of_period =
        (day_of_period - day_of_period / 1'460 + day_of_period / 36'524 - day_of_period / 146'096) /
        365;
    const uint32_t day_of_year =
        day_of_period - (365 * year_of_period + year_of_period / 4 - year_of_period / 100);
    // From March on, five months have 153 days, whichever of them one starts with.
    const uint32_t month_from_march = (5 * day_of_year + 2) / 153;
    const uint32_t day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    const bool new_year = month_from_march >= 10;
    return {
        .year = (period - 1) * 400 + year_of_period + (new_year ? 1 : 0),
        .month = new_year ? month_from_march - 9 : month_from_march + 3,
        .day = day_of_month,
    };
}

static_assert(date_of(0).year == 1970 && date_of(0).month == 1 && date_of(0).day == 1);
static_assert(date_of(clock_min / seconds_per_day).year == 0);
static_assert(date_of(11'016).month == 2 && date_of(11'016).day == 29); // in the year 2000

// Writes two digits of a number below 100.
constexpr void put_pair(char* at, uint32_t pair) {
    at[0] = static_cast<char>('0' + pair / 10);
    at[1] = static_cast<char>('0' + pair % 10);
}

} // namespace

void Stamp::format_second(int64_t unix_seconds, int32_t offset_s) {
    unix_seconds_ = unix_seconds;
    offset_s_ = offset_s;
    formatted_ = true;

    const int32_t zone_minutes = std::clamp(offset_s / 60, -zone_minutes_max, zone_minutes_max);
    const int64_t clock = std::clamp(
        std::clamp(unix_seconds, clock_min - seconds_per_day, clock_max + seconds_per_day) +
            zone_minutes * 60,
        clock_min,
        clock_max);
    int64_t day = clock / seconds_per_day;
    auto second = static_cast<int32_t>(clock % seconds_per_day);
    if (second < 0) {
        second += static_cast<int32_t>(seconds_per_day);
        --day;
    }
    const auto second_of_day = static_cast<uint32_t>(second);
    const Date date = date_of(day);

    put_pair(text_, date.year / 100);
    put_pair(text_ + 2, date.year % 100);
    text_[4] = '-';
    put_pair(text_ + 5, date.month);
    text_[7] = '-';
    put_pair(text_ + 8, date.day);
    text_[10] = 'T';
    put_pair(text_ + 11, second_of_day / 3'600);
    text_[13] = ':';
    put_pair(text_ + 14, second_of_day / 60 % 60);
    text_[16] = ':';
    put_pair(text_ + 17, second_of_day % 60);
    text_[19] = '.';
    text_[29] = zone_minutes < 0 ? '-' : '+';
    const auto zone = static_cast<uint32_t>(zone_minutes < 0 ? -zone_minutes : zone_minutes);
    put_pair(text_ + 30, zone / 60);
    text_[32] = ':';
    put_pair(text_ + 33, zone % 60);
}

void Stamp::patch_nanoseconds(uint32_t nanoseconds) {
    // The number as a fixed-point fraction of 57 bits with the first digit before the point: each
    // multiplication by 100 brings the next two digits there. The factor is rounded up, which
    // adds less than a fifth of the last digit.
    constexpr int fraction_bits = 57;
    constexpr uint64_t one = uint64_t{1} << fraction_bits;
    uint64_t digits = uint64_t{std::min(nanoseconds, 999'999'999U)} * (one / 100'000'000 + 1);
    text_[20] = static_cast<char>('0' + (digits >> fraction_bits));
    for (char* at = text_ + 21; at != text_ + 29; at += 2) {
        digits = (digits & (one - 1)) * 100;
        put_pair(at, static_cast<uint32_t>(digits >> fraction_bits));
    }
}

} // namespace base
