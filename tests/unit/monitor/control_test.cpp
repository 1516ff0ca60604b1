// The fifos ctl and winsz: the grammar of contract.md 3.3 with the differences that are wanted, and
// the part that reads them, fed in all splittings and with floods.

#include "monitor/control.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "unit/monitor/heard.h"

#include <optional>
#include <random>
#include <string>

#include <sys/stat.h>

using monitor::Control;
using monitor::ControlLine;
using monitor::parse_control;
using monitor::parse_window_size;
using sys::Event;
using sys::Fd;
using sys::Source;
using Kind = ControlLine::Kind;

namespace {

// "resize 24 80", "reopen", or "refused".
std::string meaning(const ControlLine& line) {
    switch (line.kind) {
    case Kind::resize:
        return "resize " + std::to_string(line.size().rows) + " " +
               std::to_string(line.size().columns);
    case Kind::reopen:
        return "reopen";
    case Kind::too_few_numbers:
    case Kind::unknown_type:
    case Kind::out_of_range:
        return "refused";
    }
    return "?";
}

} // namespace

TEST_CASE("a line of ctl means what conmon takes it for") {
    for (const auto& [line, expected] : {
             std::pair{"1 24 80", "resize 24 80"},
             {"1 0 0", "resize 0 0"},
             {"1 1000 1000", "resize 1000 1000"},
             {"2 0 0", "reopen"},
             {"2 1000 5", "reopen"},
             // What scanf skips, and what follows the third number.
             {"  1\t24 \v\f\r 80", "resize 24 80"},
             {"1 24 80 foo", "resize 24 80"},
             {"1 24 80foo", "resize 24 80"},
             {"1 24 80 90 100", "resize 24 80"},
             {"1 24 80\r", "resize 24 80"},
             {"1 24 80.5", "resize 24 80"},
             // Signs and zeros.
             {"+1 +24 +80", "resize 24 80"},
             {"001 0024 080", "resize 24 80"},
             {"1 -0 +0", "resize 0 0"},
             {"1-0-0", "resize 0 0"},
             {"1+24+80", "resize 24 80"},
             {"1 08 09", "resize 8 9"},
             // Sizes out of range, for reopening too.
             {"1 1001 80", "refused"},
             {"1 24 1001", "refused"},
             {"1 -1 80", "refused"},
             {"1 24 -80", "refused"},
             {"2 -1 0", "refused"},
             {"2 0 1001", "refused"},
             {"1 65536 65536", "refused"},
             {"1 65560 80", "refused"},                // 24 in sixteen bits
             {"1 4294967320 80", "refused"},           // 24 in thirty-two bits
             {"1 18446744073709551640 80", "refused"}, // 24 in sixty-four
             {"1 24 99999999999999999999999999999999", "refused"},
             {"4294967297 24 80", "refused"},
             {"-1 24 80", "refused"},
             // Types that are not there.
             {"0 24 80", "refused"},
             {"3 24 80", "refused"},
             {"9 1 1", "refused"},
             {"12 24 80", "refused"},
             // Too few numbers, and things that are none.
             {"", "refused"},
             {" ", "refused"},
             {"1", "refused"},
             {"1 24", "refused"},
             {"1 24 ", "refused"},
             {"1 24 x", "refused"},
             {"1 x 80", "refused"},
             {"x 24 80", "refused"},
             {"1, 24, 80", "refused"},
             {"1 24,80", "refused"},
             {"1 0x10 80", "refused"}, // 0, and then no number
             {"1 24.5 80", "refused"},
             {"1 - 24 80", "refused"},
             {"1 --24 80", "refused"},
             {"1 +-24 80", "refused"},
             {"1 + 80", "refused"},
             {"1 24 -", "refused"},
             {"# 1 24 80", "refused"},
             {"resize 24 80", "refused"},
         }) {
        INFO('"' << line << '"');
        CHECK(meaning(parse_control(line)) == expected);
    }
    CHECK(meaning(parse_control(std::string_view("1 24\0 80", 8))) == "refused");
    CHECK(meaning(parse_control(std::string_view("1 24 80\0x", 9))) == "resize 24 80");
    CHECK(meaning(parse_control("1 24 \xff")) == "refused");
}

TEST_CASE("a line of winsz has two numbers, under the same rules") {
    for (const auto& [line, expected] : {
             std::pair{"24 80", "resize 24 80"},
             {"0 0", "resize 0 0"},
             {"1000 1000 rest", "resize 1000 1000"},
             {" +24\t080x", "resize 24 80"},
             {"1001 80", "refused"},
             {"24 1001", "refused"},
             {"-1 80", "refused"},
             {"24", "refused"},
             {"", "refused"},
             {"x 80", "refused"},
             {"0x10 80", "refused"},
             {"4294967320 80", "refused"},
         }) {
        INFO('"' << line << '"');
        CHECK(meaning(parse_window_size(line)) == expected);
    }
}

namespace {

// The part with its fifos, and what it wished for, in order.
struct Fixture {
    support::TempDir directory;
    unit::Loop loop;
    sys::Diag diag;
    Control control{loop.poller, diag};
    std::vector<std::string> wishes;
    Fd ctl;
    Fd winsz;

    Fixture() {
        const Fd at{::open(directory.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        REQUIRE(control.open_control(at));
        REQUIRE(control.open_window_size(at));
        ctl = Fd{::open((directory / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
        winsz = Fd{::open((directory / "winsz").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
        REQUIRE(ctl.valid());
        REQUIRE(winsz.valid());
    }

    size_t serve() {
        return loop.run([&](const Event& event) {
            const Control::Wishes wished = control.on_ready(event.source);
            if (wished.resize) {
                wishes.push_back("resize " + std::to_string(wished.resize->rows) + " " +
                                 std::to_string(wished.resize->columns));
            }
            if (wished.reopen) {
                wishes.emplace_back("reopen");
            }
        });
    }

    void send(const Fd& to, std::string_view text) {
        REQUIRE(::write(to.number(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
        serve();
    }

    std::vector<std::string> take() { return std::exchange(wishes, {}); }
};

using Wished = std::vector<std::string>;

} // namespace

TEST_CASE("both fifos are there with their mode, and replace what was there") {
    const mode_t old = ::umask(0022);
    Fixture fixture;
    ::umask(old);
    for (const char* name : {"ctl", "winsz"}) {
        CHECK(support::type_of(fixture.directory / name) == S_IFIFO);
        CHECK(support::mode_of(fixture.directory / name) == 0640);
    }
}

TEST_CASE("lines are joined across writes and split within one (regression 49)") {
    Fixture fixture;
    fixture.send(fixture.ctl, "1 24 80\n");
    CHECK(fixture.take() == Wished{"resize 24 80"});
    fixture.send(fixture.ctl, "1 2");
    fixture.send(fixture.ctl, "5 8");
    CHECK(fixture.take().empty());
    fixture.send(fixture.ctl, "1\n2 0");
    CHECK(fixture.take() == Wished{"resize 25 81"});
    fixture.send(fixture.ctl, " 0\n");
    CHECK(fixture.take() == Wished{"reopen"});
    fixture.send(fixture.winsz, "30 90\n");
    CHECK(fixture.take() == Wished{"resize 30 90"});
}

TEST_CASE("of several sizes in one read the last counts (regression 69)") {
    Fixture fixture;
    fixture.send(fixture.ctl, "1 1 1\n1 2 2\n1 40 120\n");
    CHECK(fixture.take() == Wished{"resize 40 120"});
    fixture.send(fixture.ctl, "1 1 1\n2 0 0\n1 3 3\n");
    CHECK(fixture.take() == Wished{"resize 3 3", "reopen"});
}

TEST_CASE("a bad line costs itself and one warning, not the lines after it (regression 49)") {
    unit::Heard heard;
    Fixture fixture;
    fixture.send(fixture.ctl, "9 1 1\n2 0 0\n");
    CHECK(fixture.take() == Wished{"reopen"});
    CHECK(heard.lines() == 1);
    fixture.send(fixture.ctl, "rubbish\n\n1 2\n1 1001 1\n1 5 6\n");
    CHECK(fixture.take() == Wished{"resize 5 6"});
    CHECK(heard.lines() == 4);
    fixture.send(fixture.winsz, "x\n7 8\n");
    CHECK(fixture.take() == Wished{"resize 7 8"});
    CHECK(heard.lines() == 1);
}

TEST_CASE("every splitting of a text has the same meaning") {
    unit::Heard heard;
    const std::string text = "1 24 80\n9 9 9\n2 0 0\n" + std::string(250, '7') + "\n1 50 60\n";
    for (size_t first = 0; first <= text.size(); ++first) {
        Fixture fixture;
        fixture.send(fixture.ctl, text.substr(0, first));
        fixture.send(fixture.ctl, text.substr(first));
        const Wished wished = fixture.take();
        REQUIRE_FALSE(wished.empty());
        INFO("cut at " << first);
        CHECK(std::count(wished.begin(), wished.end(), "reopen") == 1);
        CHECK(std::count(wished.begin(), wished.end(), "resize 50 60") == 1);
        CHECK(heard.lines() == 2);
    }
}

TEST_CASE("a line of any length leaves the fifo alive and the next line honoured (regression 68)") {
    unit::Heard heard;
    for (size_t length : {197, 198, 199, 200, 201, 398, 400, 1023, 1024, 1025, 4000, 60'000}) {
        Fixture fixture;
        INFO(length);
        // As one write, and byte by byte to exactly what conmon's buffer holds.
        fixture.send(fixture.ctl, std::string(length, '1'));
        fixture.send(fixture.ctl, "\n1 24 80\n");
        CHECK(fixture.take() == Wished{"resize 24 80"});
        CHECK(heard.lines() == 1);
    }
    Fixture fixture;
    for (int i = 0; i < 199; ++i) {
        fixture.send(fixture.ctl, "1");
    }
    CHECK(fixture.serve() == 0); // conmon spins here
    fixture.send(fixture.ctl, "\n2 0 0\n");
    CHECK(fixture.take() == Wished{"reopen"});
}

TEST_CASE("a fragment in one fifo does not spoil a line in the other") {
    Fixture fixture;
    fixture.send(fixture.ctl, "1 24");
    fixture.send(fixture.winsz, "5 6\n");
    CHECK(fixture.take() == Wished{"resize 5 6"});
    fixture.send(fixture.ctl, " 80\n");
    CHECK(fixture.take() == Wished{"resize 24 80"});
}

TEST_CASE("writers may come and go without an end of the fifo") {
    Fixture fixture;
    for (int i = 0; i < 100; ++i) {
        const Fd writer{
            ::open((fixture.directory / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
        REQUIRE(writer.valid());
        fixture.send(writer, "1 24 80\n");
    }
    fixture.ctl.reset();
    CHECK(fixture.serve() == 0);
    CHECK(fixture.take().size() == 100);
}

TEST_CASE("a flood of resizes leaves nothing behind, and reopening works after it (regression 5)") {
    Fixture fixture;
    std::string flood;
    for (int i = 0; i < 500; ++i) {
        flood += "1 24 80\n";
    }
    for (int i = 0; i < 24; ++i) {
        fixture.send(fixture.ctl, flood);
    }
    fixture.take();
    fixture.send(fixture.ctl, "2 0 0\n");
    CHECK(fixture.take() == Wished{"reopen"});
    CHECK(fixture.serve() == 0);
}

TEST_CASE("random bytes never stop the fifo") {
    unit::Heard heard;
    Fixture fixture;
    std::mt19937 random(3);
    for (int i = 0; i < 200; ++i) {
        std::string bytes(1 + random() % 3000, ' ');
        for (char& c : bytes) {
            c = random() % 20 == 0 ? '\n' : static_cast<char>(random());
        }
        fixture.send(fixture.ctl, bytes);
        (void)heard.text();
    }
    fixture.send(fixture.ctl, "\n");
    fixture.take();
    fixture.send(fixture.ctl, "1 11 12\n");
    CHECK(fixture.take() == Wished{"resize 11 12"});
}

TEST_CASE("a fifo that cannot be read is let go, and the other goes on") {
    unit::Heard heard;
    Fixture fixture;
    {
        const shadow::Faults faults("read", 1, EIO);
        fixture.send(fixture.ctl, "1 24 80\n");
    }
    CHECK(heard.text() == "[conmon:w]: Failed to read control messages: read: "
                          "Input/output error\n");
    // Whoever wants to write sees that nobody reads.
    CHECK(::open((fixture.directory / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC) == -1);
    fixture.send(fixture.winsz, "5 6\n");
    CHECK(fixture.take() == Wished{"resize 5 6"});
}

TEST_CASE("fifos that cannot be made are refused with the reason, and leave no descriptor") {
    const support::TempDir directory;
    unit::Loop loop;
    sys::Diag diag;
    const auto before = unit::open_descriptors();
    {
        Control control(loop.poller, diag);
        const Fd at{::open(directory.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        const shadow::Faults faults("mkfifoat", 2, ENOSPC);
        REQUIRE(control.open_control(at));
        const auto opened = control.open_window_size(at);
        REQUIRE_FALSE(opened);
        CHECK(opened.error().code == ENOSPC);
    }
    CHECK(unit::open_descriptors() == before);
}
