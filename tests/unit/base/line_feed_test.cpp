// The line feed against a plain splitter, in every splitting.

#include "base/line_feed.h"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace {

using Outcome = std::vector<std::string>; // lines in '[', ']'; "too long" where one was

template <size_t N> class Fed {
  public:
    void feed(std::string_view bytes) {
        feed_.feed(
            bytes,
            [&](std::string_view line) { outcome_.push_back("[" + std::string(line) + "]"); },
            [&] { outcome_.push_back("too long"); });
    }
    const Outcome& outcome() const { return outcome_; }

  private:
    base::LineFeed<N> feed_;
    Outcome outcome_;
};

// What must come out of `text`, however it is cut up.
Outcome expected(std::string_view text, size_t longest) {
    Outcome outcome;
    while (!text.empty()) {
        const size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        if (line.size() > longest) {
            outcome.emplace_back("too long");
        } else if (end != std::string_view::npos) {
            outcome.push_back("[" + std::string(line) + "]");
        }
        if (end == std::string_view::npos) {
            break;
        }
        text.remove_prefix(end + 1);
    }
    return outcome;
}

} // namespace

TEST_CASE("lines come out whole, whatever pieces they come in") {
    const std::string text =
        "1 24 80\n\n2 0 0\nabcdefgh\nabcdefghi\nx\nabcdefghijklmnopqrst\n\nlast";
    const Outcome wanted = expected(text, 8);
    CHECK(wanted ==
          Outcome{"[1 24 80]", "[]", "[2 0 0]", "[abcdefgh]", "too long", "[x]", "too long", "[]"});
    for (size_t first = 0; first <= text.size(); ++first) {
        for (size_t second = first; second <= text.size(); ++second) {
            Fed<8> fed;
            fed.feed(text.substr(0, first));
            fed.feed(text.substr(first, second - first));
            fed.feed(text.substr(second));
            REQUIRE(fed.outcome() == wanted);
        }
    }
    Fed<8> bytewise;
    for (const char byte : text) {
        bytewise.feed({&byte, 1});
    }
    CHECK(bytewise.outcome() == wanted);
}

TEST_CASE("an incomplete line waits for its end") {
    Fed<8> fed;
    fed.feed("abc");
    fed.feed("");
    CHECK(fed.outcome().empty());
    fed.feed("def\ngh");
    CHECK(fed.outcome() == Outcome{"[abcdef]"});
    fed.feed("\n");
    CHECK(fed.outcome() == Outcome{"[abcdef]", "[gh]"});
}

TEST_CASE("a line that grows to exactly the limit is taken, one byte more is not (regression 68)") {
    for (const size_t length : {198, 199, 200, 201, 400, 5000}) {
        for (const size_t step : {1, 7, 199, 200, 10'000}) {
            INFO(length << " by " << step);
            Fed<199> fed;
            const std::string line(length, 'l');
            for (size_t at = 0; at < line.size(); at += step) {
                fed.feed(line.substr(at, step));
            }
            CHECK(fed.outcome() == (length > 199 ? Outcome{"too long"} : Outcome{}));
            fed.feed("\nnext\n");
            CHECK(fed.outcome() == (length > 199 ? Outcome{"too long", "[next]"}
                                                 : Outcome{"[" + line + "]", "[next]"}));
        }
    }
}

TEST_CASE("a flood without a newline is reported once and costs nothing after it") {
    Fed<16> fed;
    for (int i = 0; i < 10'000; ++i) {
        fed.feed("flood flood flood");
    }
    CHECK(fed.outcome() == Outcome{"too long"});
    fed.feed("\ngood\n");
    CHECK(fed.outcome() == Outcome{"too long", "[good]"});
}

TEST_CASE("lines hold any bytes but a newline") {
    Fed<16> fed;
    const std::string line("\0a\r\xff\t", 5);
    fed.feed(line + "\n");
    CHECK(fed.outcome() == Outcome{"[" + line + "]"});
}

TEST_CASE("any text in any pieces gives what a plain splitter gives") {
    std::mt19937 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::string text(random() % 200, ' ');
        for (char& c : text) {
            c = random() % 6 == 0 ? '\n' : static_cast<char>('a' + random() % 3);
        }
        Fed<8> fed;
        for (size_t at = 0; at < text.size();) {
            const size_t piece = 1 + random() % 20;
            fed.feed(std::string_view(text).substr(at, piece));
            at += piece;
        }
        REQUIRE(fed.outcome() == expected(text, 8));
    }
}
