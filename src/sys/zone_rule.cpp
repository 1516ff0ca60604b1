#include "sys/zone_rule.h"

namespace sys {

namespace {

constexpr int64_t seconds_per_day = 86'400;

constexpr bool is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

// Days from 1 January 1970 to 1 January of `year`, from the year -40000 on.
constexpr int64_t days_to_year(int64_t year) {
    // Counted from a year 400 * 100 before the year 1, so that no division rounds upwards.
    const int64_t before = year - 1 + 40'000;
    return 365 * before + before / 4 - before / 100 + before / 400 - (719'162 + 100 * 146'097);
}

static_assert(days_to_year(1970) == 0 && days_to_year(2001) == 11'323 &&
              days_to_year(0) == -719'528);

// Days from 1 January to the first of `month`, 1 to 12.
constexpr int64_t days_to_month(int64_t month, bool leap) {
    // Like the months of a year that begins in March, whose lengths follow a line.
    return month <= 2 ? 31 * (month - 1) : (153 * (month - 3) + 2) / 5 + 59 + (leap ? 1 : 0);
}

static_assert(days_to_month(3, true) == 60 && days_to_month(12, false) == 334);

bool is_letter(char one) {
    return (one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z');
}

bool is_digit(char one) {
    return one >= '0' && one <= '9';
}

} // namespace

// Takes the parts of a rule off the beginning of a text. What is not there refuses the whole text,
// once and for all: refused() is asked at the end.
class ZoneRule::Reader {
  public:
    explicit Reader(std::string_view rest) : rest_{rest} {}

    [[nodiscard]] bool refused() const { return refused_; }
    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] bool sees(char one) const { return !rest_.empty() && rest_.front() == one; }

    // Three letters or more, or anything of letters, digits and signs in angle brackets.
    void name() {
        size_t length = 0;
        if (take('<')) {
            while (!rest_.empty() && (is_letter(rest_.front()) || is_digit(rest_.front()) ||
                                      sees('+') || sees('-'))) {
                rest_.remove_prefix(1);
                ++length;
            }
            refuse_unless(length != 0 && take('>'));
            return;
        }
        while (!rest_.empty() && is_letter(rest_.front())) {
            rest_.remove_prefix(1);
            ++length;
        }
        refuse_unless(length >= 3);
    }

    // hh[:mm[:ss]] with an optional sign, in seconds.
    int32_t time(int32_t hours_max) {
        const bool negative = take('-');
        if (!negative) {
            (void)take('+');
        }
        int32_t seconds = 3'600 * number(0, hours_max);
        if (take(':')) {
            seconds += 60 * number(0, 59);
            if (take(':')) {
                seconds += number(0, 59);
            }
        }
        return negative ? -seconds : seconds;
    }

    // ,date[/time]
    Change change() {
        Change change;
        refuse_unless(take(','));
        if (take('M')) {
            change.month = static_cast<uint8_t>(number(1, 12));
            refuse_unless(take('.'));
            change.week = static_cast<uint8_t>(number(1, 5));
            refuse_unless(take('.'));
            change.day = static_cast<uint16_t>(number(0, 6));
        } else if (take('J')) {
            change.kind = Change::Kind::day_without_leap_day;
            change.day = static_cast<uint16_t>(number(1, 365));
        } else {
            change.kind = Change::Kind::day_of_year;
            change.day = static_cast<uint16_t>(number(0, 365));
        }
        if (take('/')) {
            change.time_s = time(167);
        }
        return change;
    }

  private:
    void refuse_unless(bool holds) { refused_ = refused_ || !holds; }

    bool take(char one) {
        const bool there = sees(one);
        if (there) {
            rest_.remove_prefix(1);
        }
        return there;
    }

    int32_t number(int32_t min, int32_t max) {
        int32_t value = 0;
        size_t digits = 0;
        for (; !rest_.empty() && is_digit(rest_.front()) && digits < 3; ++digits) {
            value = 10 * value + (rest_.front() - '0');
            rest_.remove_prefix(1);
        }
        refuse_unless(digits != 0 && value >= min && value <= max);
        return value;
    }

    std::string_view rest_;
    bool refused_ = false;
};

std::optional<ZoneRule> ZoneRule::parse(std::string_view text) {
    constexpr int32_t offset_hours_max = 24;

    ZoneRule rule;
    Reader reader{text};
    // POSIX counts what is to be added to local time to get UTC.
    reader.name();
    rule.offset_s_ = -reader.time(offset_hours_max);
    if (!reader.at_end()) {
        rule.has_summer_ = true;
        reader.name();
        rule.summer_offset_s_ = reader.at_end() || reader.sees(',')
                                    ? rule.offset_s_ + 3'600
                                    : -reader.time(offset_hours_max);
        Reader united_states{",M3.2.0,M11.1.0"};
        Reader& dates = reader.at_end() ? united_states : reader;
        rule.summer_begins_ = dates.change();
        rule.summer_ends_ = dates.change();
    }
    if (reader.refused() || !reader.at_end()) {
        return std::nullopt;
    }
    return rule;
}

int64_t ZoneRule::Change::in_year(int64_t year) const {
    const bool leap = is_leap(year);
    int64_t date = days_to_year(year);
    switch (kind) {
    case Kind::day_of_year:
        date += day;
        break;
    case Kind::day_without_leap_day:
        date += day - 1 + (leap && day >= 60 ? 1 : 0);
        break;
    case Kind::day_of_month: {
        const int64_t next_month =
            month == 12 ? date + 365 + (leap ? 1 : 0) : date + days_to_month(month + 1, leap);
        date += days_to_month(month, leap);
        // 1 January 1970 was a Thursday, 4; the year -40000 lies 7 * 2087100 days before.
        const int64_t weekday = (date + 4 + int64_t{7} * 2'200'000) % 7;
        date += (day - weekday + 7) % 7 + 7 * (week - 1);
        if (date >= next_month) {
            date -= 7;
        }
        break;
    }
    }
    return date * seconds_per_day + time_s;
}

ZoneInterval ZoneRule::interval_at(int64_t unix_seconds) const {
    ZoneInterval interval{.offset_s = offset_s_};
    if (!has_summer_) {
        return interval;
    }
    // The year is right to within one, and a change may lie a week and a day outside its year:
    // three years on both sides surely have a change before and a change after. Of two changes at
    // the same moment the later one in this order counts, so that a summer without a gap to the
    // next one lasts for ever, and one without length does not take place.
    const int64_t year = 1970 + unix_seconds / 31'556'952;
    for (int64_t near = year - 3; near <= year + 3; ++near) {
        const ZoneInterval changes[] = {
            {.from = summer_begins_.in_year(near) - offset_s_, .offset_s = summer_offset_s_},
            {.from = summer_ends_.in_year(near) - summer_offset_s_, .offset_s = offset_s_},
        };
        for (const ZoneInterval& change : changes) {
            if (change.from > unix_seconds) {
                interval.until = change.from < interval.until ? change.from : interval.until;
            } else if (change.from >= interval.from) {
                interval.from = change.from;
                interval.offset_s = change.offset_s;
            }
        }
    }
    return interval;
}

} // namespace sys
