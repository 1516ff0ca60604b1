#include "base/errno_text.h"
#include "base/text.h"

#include <cerrno>
#include <cstring>
#include <limits>

#include <catch2/catch.hpp>

using base::Text;

TEST_CASE("a text holds what was put into it") {
    Text<64> text;
    text.put("a=").put_dec(-12).put(' ').put_padded(7, 3);
    REQUIRE_FALSE(text.overflowed());
    REQUIRE(text.view() == "a=-12 007");
    REQUIRE(std::strlen(text.c_str()) == text.size());
}

TEST_CASE("an overflow cuts, is remembered, and is forgotten by shrink") {
    Text<4> text;
    text.put("abc").put("defg");
    REQUIRE(text.view() == "abcd");
    REQUIRE(text.overflowed());
    text.put("");
    REQUIRE(text.overflowed());
    text.shrink(1);
    REQUIRE_FALSE(text.overflowed());
    REQUIRE(text.view() == "a");
}

TEST_CASE("the largest numbers fit") {
    Text<64> text;
    text.put_dec(std::numeric_limits<int64_t>::min()).put(' ').put_dec(UINT64_MAX);
    REQUIRE(text.view() == "-9223372036854775808 18446744073709551615");
}

TEST_CASE("every error number has the text that glibc gives it") {
    for (int code = 1; code < 134; ++code) {
        Text<80> text;
        base::put_errno(text, code);
        const std::string_view expected = strerrordesc_np(code) ? strerrordesc_np(code) : "";
        if (text.view().substr(0, 14) != "Unknown error ") {
            CAPTURE(code);
            REQUIRE(text.view() == expected);
        }
    }
    Text<80> text;
    base::put_errno(text, 4095);
    REQUIRE(text.view() == "Unknown error 4095");
}
