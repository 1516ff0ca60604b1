// Reading numbers and lines out of text that we do not trust.
#pragma once

#include "base/bytes.h"

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>
#include <utility>

namespace base {

// The whole of `text` as a decimal number, with an optional '-' and nothing before or after it.
// Nothing if it is not one, or does not fit T.
template <std::integral T> std::optional<T> parse_int(std::string_view text) {
    T value{};
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc{} || parsed.ptr != end) {
        return std::nullopt;
    }
    return value;
}

// The pid in a pid file, as atoi reads it: blanks in front and anything behind are ignored. Nothing
// if it is not above 0, or does not fit.
inline std::optional<int> parse_pid(std::string_view text) {
    while (!text.empty() && (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))) {
        text.remove_prefix(1);
    }
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
        ++digits;
    }
    const auto pid = parse_int<int>(std::string_view{text.data(), digits});
    return pid && *pid > 0 ? pid : std::nullopt;
}

struct Split {
    std::string_view head;
    std::optional<std::string_view> tail; // nothing: the separator does not occur
};

// Splits at the first `separator`, which belongs to neither part.
inline Split split_once(std::string_view text, char separator) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) {
        return {text, std::nullopt};
    }
    return {{text.data(), at}, std::string_view{text.data() + at + 1, text.size() - at - 1}};
}

// Takes the first line, without its '\n', off `rest`; the last line may lack a '\n'.
// Nothing when `rest` is empty.
inline std::optional<std::string_view> next_line(std::string_view& rest) {
    if (rest.empty()) {
        return std::nullopt;
    }
    const Split split = split_once(rest, '\n');
    rest = split.tail ? *split.tail : std::string_view{};
    return split.head;
}

// Whether `text` is `lower`, which holds no capitals, whatever the case of its ASCII letters.
constexpr bool equals_ignoring_case(std::string_view text, std::string_view lower) {
    if (text.size() != lower.size()) {
        return false;
    }
    for (size_t at = 0; at < text.size(); ++at) {
        const char one = text[at];
        if ((one >= 'A' && one <= 'Z' ? one - 'A' + 'a' : one) != lower[at]) {
            return false;
        }
    }
    return true;
}

} // namespace base
