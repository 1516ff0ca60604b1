#include "base/json.h"
#include "support/json_string.h"

#include <string>

#include <catch2/catch.hpp>

using base::put_json_escaped;
using base::Text;
using base::Whole;

namespace {

std::string escaped(std::string_view text) {
    Text<160'000> sink;
    REQUIRE(put_json_escaped(sink, text) == Whole::yes);
    REQUIRE_FALSE(sink.overflowed());
    return std::string{sink.view()};
}

} // namespace

TEST_CASE("JSON escapes are spelled as conmon spells them") {
    REQUIRE(escaped("") == "");
    REQUIRE(escaped("plain text") == "plain text");
    REQUIRE(escaped("a\"b\\c/d") == R"(a\"b\\c\/d)");
    REQUIRE(escaped("\n\r\t\b\f") == R"(\n\r\t\b\f)");
    REQUIRE(escaped("\x01\x0b\x1b\x1f\x7f") == R"(\u0001\u000b\u001b\u001f\u007f)");
    REQUIRE(escaped(std::string_view{"ab\0cd", 5}) == "ab");
}

TEST_CASE("valid UTF-8 passes and each other byte becomes one U+FFFD (regression 32)") {
    constexpr const char* bad = "\xef\xbf\xbd";
    const auto bads = [](size_t count) {
        std::string text;
        while (count-- > 0) {
            text += bad;
        }
        return text;
    };
    for (const char* good : {"\xc2\x80",
                             "\xdf\xbf",
                             "\xe0\xa0\x80",
                             "\xed\x9f\xbf",
                             "\xee\x80\x80",
                             "\xef\xbf\xbf",
                             "\xf0\x90\x80\x80",
                             "\xf4\x8f\xbf\xbf",
                             "\xe2\x80\x9c"}) {
        REQUIRE(escaped(good) == good);
    }
    REQUIRE(escaped("\x80") == bads(1));
    REQUIRE(escaped("\xc0\x80") == bads(2));         // overlong
    REQUIRE(escaped("\xe0\x9f\xbf") == bads(3));     // overlong
    REQUIRE(escaped("\xf0\x8f\xbf\xbf") == bads(4)); // overlong
    REQUIRE(escaped("\xed\xa0\x80") == bads(3));     // a surrogate
    REQUIRE(escaped("\xf4\x90\x80\x80") == bads(4)); // over U+10FFFF
    REQUIRE(escaped("\xff\xfe") == bads(2));
    REQUIRE(escaped("\xe2\x82") == bads(2)); // ends too early
    REQUIRE(escaped("\xe2\x82z") == bads(2) + "z");
    REQUIRE(escaped("\xe2\xc3\xa4") == bads(1) + "\xc3\xa4");
    REQUIRE(escaped(std::string_view{"\xc3\0\xa4", 3}) == bads(1));
}

TEST_CASE("a strict parser reads every byte value, 20,000 bytes of them (regression 32)") {
    std::string text;
    for (int at = 0; at < 20'000; ++at) {
        text += static_cast<char>(at % 255 + 1);
    }
    const auto read = support::read_json_string(escaped(text));
    REQUIRE(read);
    REQUIRE(*read == support::readable(text));
    REQUIRE(read->size() == 20'000);
}

TEST_CASE("every pair of bytes and every three-byte form is read back by a strict parser") {
    std::string text(2, ' ');
    for (int pair = 0; pair < 0x10000; ++pair) {
        text[0] = static_cast<char>(pair >> 8);
        text[1] = static_cast<char>(pair);
        Text<16> sink;
        (void)put_json_escaped(sink, text);
        if (support::read_json_string(sink.view()) != support::readable(text)) {
            CAPTURE(pair);
            FAIL();
        }
    }
    text.resize(4);
    for (int form = 0; form < 0x100000; form += 3) {
        text[0] = static_cast<char>(0xe0 | form >> 16);
        text[1] = static_cast<char>(form >> 8);
        text[2] = static_cast<char>(form);
        text[3] = '\xbf';
        Text<32> sink;
        (void)put_json_escaped(sink, text);
        if (support::read_json_string(sink.view()) != support::readable(text)) {
            CAPTURE(form);
            FAIL();
        }
    }
}

TEST_CASE("a sink that is too small gets whole characters and escapes only") {
    constexpr std::string_view text = "a\"\x01\xc3\xa4\xf0\x9f\x98\x80\xff/z";
    const std::string whole = escaped(text);
    const std::u32string meaning = support::readable(text);
    Text<64> sink;
    for (size_t room = 0; room <= whole.size(); ++room) {
        sink.clear();
        const size_t spare = 64 - room;
        const Whole answer = put_json_escaped(sink, text, spare);
        CAPTURE(room, sink.view());
        REQUIRE((answer == Whole::yes) == (room == whole.size()));
        REQUIRE_FALSE(sink.overflowed());
        REQUIRE(sink.size() <= room);
        REQUIRE(whole.substr(0, sink.size()) == sink.view());
        const auto read = support::read_json_string(sink.view());
        REQUIRE(read);
        REQUIRE(*read == meaning.substr(0, read->size()));
        // Nothing that would have fitted is left out: the longest piece has six characters.
        REQUIRE(room - sink.size() < 6);
    }
    sink.clear();
    sink.put("already 60 characters of text, which leave room for four more");
    const size_t before = sink.size();
    REQUIRE(put_json_escaped(sink, "x", 64) == Whole::no);
    REQUIRE(put_json_escaped(sink, "", 64) == Whole::yes);
    REQUIRE(sink.size() == before);
}
