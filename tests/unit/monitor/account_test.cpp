// The account: every number under its own name, in JSON that a strict reader takes, however large
// the numbers are.

#include "monitor/account.h"
#include "support/json.h"

#include <cstring>
#include <set>
#include <string>

#include <unistd.h>

#include <catch2/catch.hpp>

using monitor::Counters;
using support::Json;

namespace {

Json account_of(const Counters& counters) {
    base::Text<2048> text;
    monitor::put_account(text, counters);
    REQUIRE_FALSE(text.overflowed());
    REQUIRE(text.view().ends_with("}\n"));
    return Json::parse(text.view());
}

} // namespace

TEST_CASE("each number of the counters stands under the name of its member") {
    Counters counters{};
    counters.started_ms = 1;
    counters.written_ms = 2;
    counters.records = {.streams = {{{.bytes = 3, .records = 4}, {.bytes = 5, .records = 6}}},
                        .lost_to_disk = {.records = 7, .bytes = 8},
                        .lost_to_limit = {.records = 9, .bytes = 10},
                        .lost_to_journal = {.records = 11, .bytes = 12},
                        .lost_to_rate = {.records = 13, .bytes = 14},
                        .rate_waits = 15,
                        .rate_wait_ms = 16,
                        .rotations = 17,
                        .reopen_failures = 18};
    counters.clients = 19;
    counters.clients_ever = 20;
    counters.clients_dropped = 21;
    counters.stalls = 22;
    counters.stall_ms = 23;
    counters.oom_events = 24;
    counters.upgrades = 25;
    const Json account = account_of(counters);
    long expected = 0;
    for (const char* name : {"started_ms",
                             "written_ms",
                             "stdout_bytes",
                             "stdout_records",
                             "stderr_bytes",
                             "stderr_records",
                             "lost_disk_records",
                             "lost_disk_bytes",
                             "lost_limit_records",
                             "lost_limit_bytes",
                             "lost_journal_records",
                             "lost_journal_bytes",
                             "lost_rate_records",
                             "lost_rate_bytes",
                             "rate_waits",
                             "rate_wait_ms",
                             "rotations",
                             "reopen_failures",
                             "clients",
                             "clients_ever",
                             "clients_dropped",
                             "stalls",
                             "stall_ms",
                             "oom_events",
                             "upgrades"}) {
        CAPTURE(name);
        CHECK(account[name].number() == ++expected);
    }
    CHECK(account["pid"].number() == ::getpid());
    CHECK(account["version"].text() == MOTE_VERSION);
    CHECK(account.members().size() == 27);
    CHECK(sizeof(Counters) == 25 * sizeof(uint64_t));
}

TEST_CASE("an account has room for the largest numbers") {
    Counters counters{};
    std::memset(static_cast<void*>(&counters), 0xff, sizeof counters);
    base::Text<2048> text;
    monitor::put_account(text, counters);
    CHECK_FALSE(text.overflowed());
    CHECK(text.view().find("\"upgrades\":18446744073709551615}") != std::string_view::npos);
    (void)Json::parse(text.view());
}
