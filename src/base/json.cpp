#include "base/json.h"

#include "base/utf8.h"

namespace base {

namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd"; // U+FFFD in UTF-8

// The letter that follows the backslash, or 'u' where the number has to, or 0 for a character that
// stands for itself.
char escape_of(char one) {
    switch (one) {
    case '"':
    case '\\':
    case '/':
        return one;
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return static_cast<unsigned char>(one) < 0x20 || one == 0x7f ? 'u' : '\0';
    }
}

char hex_digit(int value) {
    return static_cast<char>(value < 10 ? '0' + value : 'a' + value - 10);
}

} // namespace

Whole put_json_escaped(TextSink& sink, std::string_view text, size_t spare) {
    size_t at = 0;
    while (at < text.size() && text[at] != '\0') {
        const char one = text[at];
        char escape[6] = {
            '\\', escape_of(one), '0', '0', hex_digit((one >> 4) & 0xf), hex_digit(one & 0xf)};
        size_t taken = 1;
        std::string_view piece{&one, 1};
        if ((one & 0x80) != 0) {
            const size_t size = utf8_size({text.data() + at, text.size() - at});
            taken = size == 0 ? 1 : size;
            piece = size == 0 ? replacement : std::string_view{text.data() + at, size};
        } else if (escape[1] != '\0') {
            piece = {escape, escape[1] == 'u' ? size_t{6} : size_t{2}};
        }
        if (sink.room() < spare || sink.room() - spare < piece.size()) {
            return Whole::no;
        }
        sink.put(piece);
        at += taken;
    }
    return Whole::yes;
}

} // namespace base
