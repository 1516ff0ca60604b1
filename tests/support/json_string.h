// A strict reader of what stands between the quotes of a JSON string, written apart from the
// product's code: the model that its escaping is tested against.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace support {

// Takes one character of strict UTF-8 (no overlong form, no surrogate, nothing over U+10FFFF) off
// `rest`. Nothing if there is none at its beginning.
inline std::optional<char32_t> take_utf8(std::string_view& rest) {
    if (rest.empty()) {
        return std::nullopt;
    }
    const auto first = static_cast<uint8_t>(rest[0]);
    size_t more = 0;
    char32_t value = first;
    while (more < 4 && (first & (0x80 >> more)) != 0) {
        ++more; // the number of leading ones
    }
    if (more == 1 || more > 4 || (first & 0xf8) == 0xf8) {
        return std::nullopt;
    }
    if (more > 0) {
        value = first & (0x7fU >> more);
        --more;
    }
    if (rest.size() <= more) {
        return std::nullopt;
    }
    for (size_t at = 1; at <= more; ++at) {
        const auto next = static_cast<uint8_t>(rest[at]);
        if (next >> 6 != 2) {
            return std::nullopt;
        }
        value = value << 6 | (next & 0x3fU);
    }
    constexpr char32_t least[4] = {0, 0x80, 0x800, 0x10000};
    if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return std::nullopt;
    }
    rest.remove_prefix(more + 1);
    return value;
}

// The characters that `escaped` stands for, or nothing if a strict parser would refuse it.
inline std::optional<std::u32string> read_json_string(std::string_view escaped) {
    std::u32string result;
    std::string_view rest = escaped;
    while (!rest.empty()) {
        const auto one = take_utf8(rest);
        if (!one || *one < 0x20 || *one == U'"') {
            return std::nullopt;
        }
        if (*one != U'\\') {
            result += *one;
            continue;
        }
        if (rest.empty()) {
            return std::nullopt;
        }
        const char letter = rest[0];
        rest.remove_prefix(1);
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::u32string_view meanings = U"\"\\/\b\f\n\r\t";
        const size_t known = letters.find(letter);
        if (known != std::string_view::npos) {
            result += meanings[known];
            continue;
        }
        if (letter != 'u' || rest.size() < 4) {
            return std::nullopt;
        }
        char32_t value = 0;
        for (const char digit : rest.substr(0, 4)) {
            const size_t worth = std::string_view{"0123456789abcdef"}.find(digit);
            if (worth == std::string_view::npos) {
                return std::nullopt;
            }
            value = value << 4 | static_cast<char32_t>(worth);
        }
        rest.remove_prefix(4);
        result += value;
    }
    return result;
}

// The characters that an escaped copy of `raw` must stand for: up to the first NUL, each byte that
// is not part of valid UTF-8 as U+FFFD.
inline std::u32string readable(std::string_view raw) {
    std::u32string result;
    std::string_view rest = raw.substr(0, raw.find('\0'));
    while (!rest.empty()) {
        if (const auto one = take_utf8(rest)) {
            result += *one;
        } else {
            result += U'\ufffd';
            rest.remove_prefix(1);
        }
    }
    return result;
}

} // namespace support
