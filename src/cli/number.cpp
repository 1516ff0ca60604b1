// A reader of integers without the C library's: strtol needs errno and a locale, and is larger.

#include "cli/number.h"

namespace cli {

namespace {

bool is_blank(char one) {
    return one == ' ' || (one >= '\t' && one <= '\r');
}

// The value of a digit of any base up to 16, or 16.
unsigned digit_value(char one) {
    if (one >= '0' && one <= '9') {
        return static_cast<unsigned>(one - '0');
    }
    const auto lower = static_cast<char>(one | 0x20);
    return lower >= 'a' && lower <= 'f' ? static_cast<unsigned>(lower - 'a' + 10) : 16;
}

} // namespace

Number parse_number(const char* text, uint64_t max, int64_t& value, char end) {
    while (is_blank(*text)) {
        ++text;
    }
    const bool is_negative = *text == '-';
    if (*text == '-' || *text == '+') {
        ++text;
    }
    unsigned number_base = 10;
    if (*text == '0') {
        const bool is_hex = (text[1] | 0x20) == 'x';
        number_base = is_hex ? 16 : 8;
        text += is_hex ? 2 : 0;
    }
    if (*text == '\0' || *text == end) {
        return Number::malformed;
    }
    uint64_t magnitude = 0;
    bool is_too_large = false;
    for (; *text != '\0' && *text != end; ++text) {
        const unsigned digit = digit_value(*text);
        if (digit >= number_base) {
            return Number::malformed;
        }
        // No division: on 32-bit machines that would be a call into a library that we do not link.
        is_too_large = __builtin_mul_overflow(magnitude, uint64_t{number_base}, &magnitude) ||
                       __builtin_add_overflow(magnitude, uint64_t{digit}, &magnitude) ||
                       is_too_large;
    }
    if (is_too_large || magnitude > max + (is_negative ? 1 : 0)) {
        return Number::out_of_range;
    }
    value = static_cast<int64_t>(is_negative ? 0 - magnitude : magnitude);
    return Number::good;
}

} // namespace cli
