// MOTE_LOG_RATE and MOTE_LOG_UTC, asked for as an engine would, by the environment.

#include "support/monitor.h"

#include <algorithm>
#include <chrono>
#include <csignal>

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

constexpr std::string_view notice_head = "mote: dropped by MOTE_LOG_RATE, records lost: ";

bool is_notice(const Record& record) {
    return record.content.starts_with(notice_head);
}

// What the notices in the log say is missing, together.
long missing(const std::vector<Record>& records) {
    long sum = 0;
    for (const Record& record : records) {
        if (is_notice(record)) {
            sum += std::stol(record.content.substr(notice_head.size()));
        }
    }
    return sum;
}

// The lines of the standard output without the notices, put together again.
Lines lines_of(const std::vector<Record>& records) {
    Lines lines;
    bool goes_on = false;
    for (const Record& record : records) {
        if (record.stream == "stdout" && !is_notice(record)) {
            if (goes_on) {
                lines.back() += record.content;
            } else {
                lines.push_back(record.content);
            }
            goes_on = record.tag == 'P';
        }
    }
    return lines;
}

std::string numbered(int first, int last) {
    std::string lines;
    char line[16];
    for (int n = first; n <= last; ++n) {
        std::snprintf(line, sizeof line, "line %07d\n", n);
        lines += line;
    }
    return lines;
}

Json account(const Monitor& m) {
    return Json::parse(read_file(m.persist + "/monitor.json"));
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

} // namespace

TEST_CASE("With wait, a container writes no faster than the rate, and nothing is lost") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "200000:100000").env("MOTE_STATE", "1");
    m.shell("seq -f 'line %07.0f' 1 50000; exit 3"); // 650,000 bytes
    const auto start = Clock::now();
    m.run();
    CHECK(m.exit_file() == "3");
    // All but the burst, and what was in the pipe at the end, has waited.
    CHECK(seconds_since(start) > (650'000 - 100'000 - 131'072) / 200'000.0 - 0.1);
    m.end();
    CHECK((payload_of(m.records()) == numbered(1, 50'000)));
    CHECK(account(m)["rate_waits"].number() > 5);
    CHECK(account(m)["rate_wait_ms"].number() > 1000);
    CHECK(account(m)["lost_rate_records"].number() == 0);
}

TEST_CASE("A monitor that makes its container wait sleeps meanwhile, and serves everybody else") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "2000").shell("echo first >&2; exec yes");
    Process container(m.run());
    m.wait_log("stdout F y\n");
    const pid_t pid = m.process().pid();
    const long before = cpu_ticks(pid);
    ::usleep(500'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    AttachClient client = m.attach();
    client.receive_until("y\ny\n");
    m.process().kill(SIGTERM);
    CHECK(container.wait_gone());
    CHECK(m.exit_file() == "143");
}

TEST_CASE("With drop, the container is not slowed down, and what is missing is told") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "50000").env("MOTE_LOG_EXCESS", "drop").env("MOTE_STATE", "1");
    m.shell("seq -f 'line %07.0f' 1 2000000; echo whole >&2; exit 4"); // 26 MB
    const auto start = Clock::now();
    m.run();
    CHECK(m.exit_file() == "4");
    CHECK(seconds_since(start) < 20);
    m.end();
    const auto records = m.records();
    const Lines lines = lines_of(records);
    CHECK(std::ranges::is_sorted(lines));
    CHECK(std::ranges::adjacent_find(lines) == lines.end());
    CHECK(std::ranges::count_if(lines, [](const std::string& line) {
              return line.size() != 12 || !line.starts_with("line ");
          }) == 0);
    CHECK(lines.front() == "line 0000001");
    CHECK(lines.size() >= 50'000 / 13);
    CHECK(lines.size() < 100'000);
    const Json told = account(m);
    CHECK(missing(records) == told["lost_rate_records"].number());
    // A line whose writer was interrupted is two records.
    CHECK(missing(records) + static_cast<long>(lines.size()) >= 2'000'000);
    CHECK(missing(records) + static_cast<long>(lines.size()) <= 2'000'100);
    CHECK(told["stdout_records"].number() - told["lost_rate_records"].number() ==
          std::ranges::count(records, "stdout", &Record::stream));
    // 12 bytes of each, newlines apart.
    CHECK(told["lost_rate_bytes"].number() == 12 * (2'000'000 - static_cast<long>(lines.size())));
    CHECK(payload_of(records, "stderr") == "whole\n");
}

TEST_CASE("With drop, notices are a second apart while a flood goes on, and a last one follows") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "1000").env("MOTE_LOG_EXCESS", "drop").gate("end");
    m.shell("timeout 3.5 yes; : <end");
    const auto start = Clock::now();
    m.run();
    // Also of a container that has fallen silent.
    REQUIRE(eventually(
        [&] {
            // A record may be there in part while it is written.
            const std::string text = read_file(m.log);
            return std::ranges::count_if(parse_k8s(text.substr(0, text.rfind('\n') + 1)),
                                         is_notice) >= 3;
        },
        seconds(15)));
    ::usleep(2'000'000);
    const double passed = seconds_since(start);
    const auto notices = std::ranges::count_if(m.records(), is_notice);
    CHECK(static_cast<double>(notices) <= passed + 1);
    m.open_gate("end");
    m.end();
    CHECK(std::ranges::count_if(m.records(), is_notice) - notices <= 1); // of a line cut by the end
}

TEST_CASE("With drop-silently no record is not the container's") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "50000").env("MOTE_LOG_EXCESS", "drop-silently").env("MOTE_STATE", "1");
    m.shell("seq 1 2000000; exit 4");
    m.run();
    CHECK(m.exit_file() == "4");
    m.end();
    const auto records = m.records();
    CHECK(std::ranges::count_if(records, is_notice) == 0);
    CHECK(account(m)["lost_rate_records"].number() ==
          account(m)["stdout_records"].number() - static_cast<long>(records.size()));
    CHECK(account(m)["lost_rate_records"].number() > 0);
}

TEST_CASE("Attach clients see what the log drops") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "1000").env("MOTE_LOG_EXCESS", "drop").gate("go");
    m.shell("echo ready; : <go; seq 1 200000");
    m.run();
    m.wait_log("ready");
    AttachClient client = m.attach();
    m.open_gate("go");
    const auto output = client.receive_all();
    m.end();
    std::string expected;
    for (int n = 1; n <= 200'000; ++n) {
        expected += std::to_string(n) + "\n";
    }
    CHECK((output.out == expected));
    CHECK(missing(m.records()) > 0);
}

TEST_CASE("The rate is of the output and not of the log, and a terminal has it too") {
    Monitor m;
    m.env("MOTE_LOG_RATE", "100000").env("MOTE_LOG_EXCESS", "drop").env("MOTE_STATE", "1");
    m.add({"-t"}).script({"console", "container-tty seq 1 100000; exit 2", "pidfile", "exit 0"});
    m.run();
    CHECK(m.exit_file() == "2");
    m.end();
    CHECK(missing(m.records()) == account(m)["lost_rate_records"].number());
}

TEST_CASE("A bad rate or a bad word is a warning and the default") {
    for (const auto& [name, value] : std::map<std::string, std::string>{
             {"MOTE_LOG_RATE", "fast"}, {"MOTE_LOG_EXCESS", "keep"}, {"MOTE_LOG_UTC", "yes"}}) {
        Monitor m;
        m.env(name, value).shell("seq 1 1000");
        m.start();
        CHECK(m.first_exit() == exited(0));
        CHECK(m.errors().starts_with("[conmon:w]: " + name + " "));
        m.container();
        m.end();
        CHECK(std::ranges::count(payload_of(m.records()), '\n') == 1000);
    }
}

TEST_CASE("Without a rate MOTE_LOG_EXCESS means nothing") {
    Monitor m;
    m.env("MOTE_LOG_EXCESS", "drop").env("MOTE_LOG_RATE", "0").shell("seq 1 100000");
    m.run();
    m.end();
    CHECK(std::ranges::count(payload_of(m.records()), '\n') == 100'000);
}

TEST_CASE("With MOTE_LOG_UTC=1 stamps are in UTC whatever the zone") {
    for (const std::string value : {"1", "0"}) {
        Monitor m;
        m.env("TZ", "Asia/Kathmandu").env("MOTE_LOG_UTC", value).shell("echo now");
        const auto before = std::time(nullptr);
        m.run();
        m.end();
        const std::string stamp = m.records().at(0).stamp;
        CHECK(stamp.substr(29) == (value == "1" ? "+00:00" : "+05:45"));
        std::tm parts{};
        REQUIRE(::strptime(stamp.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) != nullptr);
        const auto instant = ::timegm(&parts) - (value == "1" ? 0 : 5 * 3600 + 45 * 60);
        CHECK(instant >= before);
        CHECK(instant <= before + 20);
    }
}
