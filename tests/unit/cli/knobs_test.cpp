#include "cli/knobs.h"

#include <string>

#include <catch2/catch.hpp>

using cli::Knobs;

namespace {

// Takes one variable and gives the warning, which must be there exactly if taking it failed.
std::string take(const std::string& variable, Knobs& knobs) {
    static std::string kept; // a knob may keep a pointer into it
    kept = variable;
    base::Text<256> warning;
    const bool taken = cli::take_knob(kept.c_str(), knobs, warning);
    REQUIRE(taken == (warning.size() == 0));
    REQUIRE_FALSE(warning.overflowed());
    return std::string{warning.view()};
}

} // namespace

TEST_CASE("a good value of a knob is taken") {
    Knobs knobs;
    REQUIRE(knobs.attach_stall_ms == 0);
    REQUIRE(knobs.log_record_max == 16'384);
    REQUIRE(knobs.journal_namespace == nullptr);
    REQUIRE(take("MOTE_ATTACH_STALL_MS=86400000", knobs).empty());
    REQUIRE(knobs.attach_stall_ms == 86'400'000);
    REQUIRE(take("MOTE_ATTACH_STALL_MS=0", knobs).empty());
    REQUIRE(knobs.attach_stall_ms == 0);
    REQUIRE(take("MOTE_LOG_RECORD_MAX=256", knobs).empty());
    REQUIRE(knobs.log_record_max == 256);
    REQUIRE(take("MOTE_LOG_RECORD_MAX=65536", knobs).empty());
    REQUIRE(knobs.log_record_max == 65'536);
    REQUIRE(take("MOTE_JOURNAL_NAMESPACE=team=a", knobs).empty());
    REQUIRE(knobs.journal_namespace == std::string{"team=a"});
    REQUIRE(take("MOTE_JOURNAL_NAMESPACE=", knobs).empty());
    REQUIRE(knobs.journal_namespace == nullptr);
}

TEST_CASE("a bad value of a knob is a warning and the default, whatever was set before") {
    for (const char* bad : {"", "x", "-1", "86400001", "1s", "99999999999999999999"}) {
        CAPTURE(bad);
        Knobs knobs{.attach_stall_ms = 5};
        REQUIRE(take(std::string{"MOTE_ATTACH_STALL_MS="} + bad, knobs) ==
                "MOTE_ATTACH_STALL_MS must be a number from 0 to 86400000, using 0");
        REQUIRE(knobs.attach_stall_ms == 0);
    }
    for (const char* bad : {"", "255", "65537", "16k", "-256"}) {
        CAPTURE(bad);
        Knobs knobs{.log_record_max = 300};
        REQUIRE(take(std::string{"MOTE_LOG_RECORD_MAX="} + bad, knobs) ==
                "MOTE_LOG_RECORD_MAX must be a number from 256 to 65536, using 16384");
        REQUIRE(knobs.log_record_max == 16'384);
    }
    for (const std::string bad : {"a/b", "..//x", " ", "a b", "\n", "ü", "\x7f"}) {
        CAPTURE(bad);
        Knobs knobs{.journal_namespace = "before"};
        REQUIRE(take("MOTE_JOURNAL_NAMESPACE=" + bad, knobs) ==
                "MOTE_JOURNAL_NAMESPACE is not the name of a journal namespace, ignoring");
        REQUIRE(knobs.journal_namespace == nullptr);
    }
}

TEST_CASE(
    "a rate is a number, or two with a colon; without the second a burst is a second's bytes") {
    struct Case {
        const char* value;
        uint32_t rate;
        uint32_t burst;
    };
    for (const Case& one : {Case{"1000", 1000, 1000},
                            Case{"1000:5000", 1000, 5000},
                            Case{"1:1", 1, 1},
                            Case{"1000000000:1000000000", 1'000'000'000, 1'000'000'000},
                            Case{"0x10:010", 16, 8}}) {
        CAPTURE(one.value);
        Knobs knobs;
        REQUIRE(take(std::string{"MOTE_LOG_RATE="} + one.value, knobs).empty());
        REQUIRE(knobs.log_rate == one.rate);
        REQUIRE(knobs.log_burst == one.burst);
    }
    Knobs knobs{.log_rate = 7};
    REQUIRE(take("MOTE_LOG_RATE=0", knobs).empty());
    REQUIRE(knobs.log_rate == 0);
    for (const char* bad : {"",
                            ":",
                            "1:",
                            ":1",
                            "1:0",
                            "-1",
                            "1:-1",
                            "1000000001",
                            "1:1000000001",
                            "1:2:3",
                            "10k",
                            "1 :2",
                            "99999999999999999999999999:1"}) {
        CAPTURE(bad);
        Knobs before{.log_rate = 7};
        REQUIRE(take(std::string{"MOTE_LOG_RATE="} + bad, before) ==
                "MOTE_LOG_RATE is not BYTES_PER_SECOND[:BURST], ignoring");
        REQUIRE(before.log_rate == 0);
    }
}

TEST_CASE("what becomes of too much is a word, and waiting unless it is said") {
    Knobs knobs;
    REQUIRE(knobs.log_excess == cli::LogExcess::wait);
    REQUIRE(take("MOTE_LOG_EXCESS=drop", knobs).empty());
    REQUIRE(knobs.log_excess == cli::LogExcess::drop);
    REQUIRE(take("MOTE_LOG_EXCESS=drop-silently", knobs).empty());
    REQUIRE(knobs.log_excess == cli::LogExcess::drop_silently);
    REQUIRE(take("MOTE_LOG_EXCESS=wait", knobs).empty());
    REQUIRE(knobs.log_excess == cli::LogExcess::wait);
    for (const char* bad : {"", "Drop", "drop ", "drop-", "waits"}) {
        CAPTURE(bad);
        Knobs before{.log_excess = cli::LogExcess::drop};
        REQUIRE(take(std::string{"MOTE_LOG_EXCESS="} + bad, before) ==
                "MOTE_LOG_EXCESS is not wait, drop or drop-silently, ignoring");
        REQUIRE(before.log_excess == cli::LogExcess::wait);
    }
}

TEST_CASE("the socket of the longest journal namespace fits in an address") {
    const std::string longest(79, 'n');
    REQUIRE(("/run/systemd/journal." + longest + "/socket").size() == 107);
    Knobs knobs;
    REQUIRE(take("MOTE_JOURNAL_NAMESPACE=" + longest, knobs).empty());
    REQUIRE_FALSE(take("MOTE_JOURNAL_NAMESPACE=" + longest + "n", knobs).empty());
}

TEST_CASE("variables that are no knobs are left alone") {
    for (const char* other : {"",
                              "=",
                              "PATH=/bin",
                              "MOTE_LOG_RECORD_MAX",
                              "MOTE_LOG_RECORD_MAXX=1",
                              "MOTE_LOG_RECORD=1",
                              "MOTE_CONMON=/x",
                              "mote_attach_stall_ms=1"}) {
        CAPTURE(other);
        Knobs knobs;
        REQUIRE(take(other, knobs).empty());
        REQUIRE(knobs.attach_stall_ms == 0);
        REQUIRE(knobs.log_record_max == 16'384);
        REQUIRE(knobs.journal_namespace == nullptr);
    }
}
