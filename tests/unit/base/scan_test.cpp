#include "base/scan.h"

#include <catch2/catch.hpp>

using base::parse_int;
using base::split_once;

TEST_CASE("a number is the whole text or nothing") {
    REQUIRE(parse_int<int>("42") == 42);
    REQUIRE(parse_int<int>("-1") == -1);
    for (const char* bad : {"", " 1", "1 ", "+1", "0x1", "1\n", "2147483648", "-"}) {
        CAPTURE(bad);
        REQUIRE_FALSE(parse_int<int>(bad));
    }
    REQUIRE_FALSE(parse_int<unsigned>("-1"));
}

TEST_CASE("a text splits at the first separator only") {
    REQUIRE(split_once("a:b:c", ':').head == "a");
    REQUIRE(split_once("a:b:c", ':').tail == "b:c");
    REQUIRE(split_once("a:", ':').tail == "");
    REQUIRE_FALSE(split_once("a", ':').tail);
}

TEST_CASE("lines come off one by one, the last without its newline too") {
    std::string_view rest = "a\n\nb";
    REQUIRE(base::next_line(rest) == "a");
    REQUIRE(base::next_line(rest) == "");
    REQUIRE(base::next_line(rest) == "b");
    REQUIRE_FALSE(base::next_line(rest));
}
