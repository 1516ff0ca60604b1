// The one question that we ask about UTF-8: which character does a text start with?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace base {

// The size in bytes of the character at the beginning of `text`, or 0 if there is none: overlong
// forms, surrogates and numbers above U+10FFFF are not characters (RFC 3629 section 4).
constexpr size_t utf8_size(std::string_view text) {
    const auto byte_at = [text](size_t at) -> unsigned {
        return at < text.size() ? static_cast<uint8_t>(text[at]) : 0;
    };
    const unsigned lead = byte_at(0);
    if (lead < 0x80) {
        return text.empty() ? 0 : 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    // Only the second byte tells the forbidden forms from the others.
    const unsigned second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte_at(1) < second_min || byte_at(1) > second_max) {
        return 0;
    }
    const size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    for (size_t at = 2; at < size; ++at) {
        if ((byte_at(at) & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

} // namespace base
