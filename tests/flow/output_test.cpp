// Container output in the k8s-file log: every byte, in order, in records of the right shape.
//
// Where a test needs the monitor to find several writes at once it stops the monitor (SIGSTOP)
// while the container writes, so that nothing depends on who is faster.

#include "support/monitor.h"

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <random>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

constexpr size_t record_max = 16384;

// Lets the container write B/data in one go while the monitor is stopped, ends it, and gives the
// records. The data must fit into a pipe (65,536 bytes).
std::vector<Record> records_of(const std::string& data, const std::string& redirect = "") {
    Monitor m;
    write_file(m.bundle + "/data", data);
    m.gate("go").shell(": <go; cat data " + redirect + "; echo >done");
    m.run();
    m.process().kill(SIGSTOP);
    m.open_gate("go");
    wait_file(m.bundle + "/done");
    m.process().kill(SIGCONT);
    CHECK(m.exit_file() == "0");
    return m.records();
}

// Bytes of every value in lines of random lengths, from a fixed seed.
std::string noise(size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string bytes;
    while (bytes.size() < size) {
        bytes += static_cast<char>(random());
    }
    bytes.back() = '\n';
    return bytes;
}

} // namespace

TEST_CASE("A line is one F record with a stamp, its stream and its bytes") {
    Monitor m;
    m.shell("echo to out; echo to err >&2");
    m.run();
    m.end();
    auto records = m.records();
    REQUIRE(records.size() == 2);
    std::ranges::sort(records, {}, &Record::stream);
    CHECK(records[0].brief() == "stderr F to err");
    CHECK(records[1].brief() == "stdout F to out");
    CHECK(records[0].stamp.ends_with("+00:00"));
}

TEST_CASE("Pieces that come apart in time are P records, and the last piece is F") {
    Monitor m;
    m.gate("one").gate("two").gate("three");
    m.shell("printf a; : <one; printf 'b\\nc'; : <two; echo; : <three; echo done");
    m.run();
    m.wait_log("stdout P a\n");
    m.open_gate("one");
    m.wait_log("stdout P c\n");
    m.open_gate("two");
    m.wait_log("stdout F \n");
    m.open_gate("three");
    m.end();
    CHECK(m.log_briefs() ==
          Lines{"stdout P a", "stdout F b", "stdout P c", "stdout F ", "stdout F done"});
}

TEST_CASE("A prompt without a newline is in the log at once") {
    Monitor m;
    m.gate("end").shell("printf 'login: '; : <end");
    m.run();
    m.wait_log("stdout P login: \n");
    m.open_gate("end");
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout P login: "});
}

TEST_CASE("An unterminated last line is one P record and nothing after it (regression 51)") {
    Monitor m;
    m.shell("printf a");
    m.run();
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout P a"});
}

TEST_CASE("Lines of every critical length up to 16,384 bytes are one F record each") {
    for (const std::vector<size_t>& lengths :
         std::vector<std::vector<size_t>>{{0, 1, 2, 0, 0, 44, 45, 46, 127, 128, 129},
                                          {4095, 4096, 4097, 8191, 8192, 8193},
                                          {16383, 0, 16384, 1},
                                          {16384, 16384, 16383}}) {
        std::string data;
        for (size_t n = 0; n < lengths.size(); ++n) {
            data += std::string(lengths[n], static_cast<char>('a' + n)) + "\n";
        }
        const auto records = records_of(data);
        REQUIRE(records.size() == lengths.size());
        for (size_t n = 0; n < lengths.size(); ++n) {
            CHECK(records[n].tag == 'F');
            CHECK(records[n].content.size() == lengths[n]);
        }
        CHECK(payload_of(records) == data);
    }
}

TEST_CASE("A longer line is split at 16,384 bytes: P ... P F (regression 52)") {
    for (const size_t length : {record_max + 1, size_t{20000}, 2 * record_max + 1, size_t{50000}}) {
        const std::string data = std::string(length, 'x') + "\n";
        const auto records = records_of(data);
        REQUIRE(records.size() == (length + record_max - 1) / record_max);
        for (size_t n = 0; n + 1 < records.size(); ++n) {
            CHECK(records[n].tag == 'P');
            CHECK(records[n].content.size() == record_max);
        }
        CHECK(records.back().tag == 'F');
        CHECK(payload_of(records) == data);
    }
}

TEST_CASE("A line that is a multiple of 16,384 bytes ends in an F record without a spare one") {
    const std::string data = std::string(2 * record_max, 'x') + "\nnext\n";
    const auto records = records_of(data);
    CHECK(payload_of(records) == data);
    REQUIRE(records.size() == 3);
    CHECK(records[0].tag == 'P');
    CHECK(records[1].tag == 'F');
    CHECK(records[2].brief() == "stdout F next");
}

TEST_CASE("An unterminated long piece is split into P records only") {
    const auto records = records_of(std::string(40000, 'x'));
    CHECK(records.size() == 3);
    for (const auto& record : records) {
        CHECK(record.tag == 'P');
    }
    CHECK(payload_of(records) == std::string(40000, 'x'));
}

TEST_CASE("Every byte value is kept, NUL and CR included") {
    std::string data;
    for (int byte = 0; byte < 256; ++byte) {
        data += static_cast<char>(byte);
    }
    data += "\r\n\0\n\n";
    data += std::string("\0\n", 2);
    const auto records = records_of(data);
    CHECK(payload_of(records) == data);
    CHECK(records[0].content == data.substr(0, 10));
}

TEST_CASE("Noise of any line lengths, written as fast as it goes, is kept byte for byte") {
    for (const unsigned seed : {1U, 2U, 3U}) {
        Monitor m;
        const std::string out = noise(3'000'000, seed);
        const std::string err = noise(1'000'000, seed + 100);
        write_file(m.bundle + "/out", out);
        write_file(m.bundle + "/err", err);
        m.shell("cat err >&2 & cat out; wait");
        m.run();
        CHECK(m.exit_file() == "0");
        const auto records = m.records();
        CHECK((payload_of(records, "stdout") == out));
        CHECK((payload_of(records, "stderr") == err));
        CHECK(std::ranges::max(records, {}, [](const Record& r) {
                  return r.content.size();
              }).content.size() <= record_max);
    }
}

TEST_CASE("Bytes that trickle in one by one are all kept") {
    Monitor m;
    const std::string data = noise(3000, 7);
    write_file(m.bundle + "/data", data);
    m.shell("dd if=data bs=1 2>/dev/null");
    m.run();
    CHECK(m.exit_file() == "0");
    CHECK((payload_of(m.records()) == data));
}

TEST_CASE("A million lines are all there, in order, none cut but at a pause") {
    Monitor m;
    m.shell("seq 1 1000000");
    m.run();
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(60))) == "0");
    std::string expected;
    for (int n = 1; n <= 1000000; ++n) {
        expected += std::to_string(n) + "\n";
    }
    CHECK((payload_of(m.records()) == expected));
}

TEST_CASE("What the container wrote just before it ended is in the log before the exit file") {
    for (int run = 0; run < 20; ++run) {
        Monitor m;
        write_file(m.bundle + "/data", std::string(999, 'x') + "\n");
        m.shell("cat data data data data data data data data data data data data data data data "
                "data data data data data data data data data data data data data data data; "
                "echo err >&2; echo last; kill -9 $$");
        m.run();
        CHECK(m.exit_file() == "137");
        const auto records = m.records();
        CHECK(payload_of(records).size() == 30 * 1000 + 5);
        CHECK(payload_of(records).ends_with("\nlast\n"));
        CHECK(payload_of(records, "stderr") == "err\n");
    }
}

TEST_CASE("A container that closes its output early goes on, and its end is seen") {
    Monitor m;
    m.gate("end").shell("echo before; exec >&- 2>&-; : <end; exit 8");
    m.run();
    m.wait_log("stdout F before\n");
    CHECK(m.process().is_running());
    m.open_gate("end");
    CHECK(m.exit_file() == "8");
    CHECK(m.log_briefs() == Lines{"stdout F before"});
}

TEST_CASE("Closed output costs no CPU while the container goes on") {
    Monitor m;
    m.gate("end").shell("exec >&- 2>&-; : <end");
    m.run();
    const pid_t pid = m.process().pid();
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    m.open_gate("end");
}

TEST_CASE("An existing log is kept and continued") {
    Monitor m;
    const std::string old = "2020-01-01T00:00:00.000000000+00:00 stdout F old\n";
    write_file(m.log, old, 0640);
    m.shell("echo new");
    m.run();
    m.end();
    CHECK(read_file(m.log).starts_with(old));
    CHECK(m.log_briefs() == Lines{"stdout F old", "stdout F new"});
}

TEST_CASE("The log is written by appending, so that copytruncate leaves no hole (regression 48)") {
    Monitor m;
    m.gate("go").shell("echo one; echo two; : <go; echo three");
    m.run();
    m.wait_log("stdout F two\n");
    REQUIRE(::truncate(m.log.c_str(), 0) == 0);
    m.open_gate("go");
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout F three"});
}

TEST_CASE("Stamps are local time with the zone's offset (regression 61)") {
    const std::vector<std::pair<std::string, std::string>> zones = {{"UTC", "+00:00"},
                                                                    {"", "+00:00"},
                                                                    {"No/Such/Zone", "+00:00"},
                                                                    {"Asia/Kolkata", "+05:30"},
                                                                    {"Asia/Kathmandu", "+05:45"},
                                                                    {"EST5", "-05:00"},
                                                                    {"<+1245>-12:45", "+12:45"},
                                                                    {":America/Phoenix", "-07:00"}};
    for (const auto& [zone, offset] : zones) {
        Monitor m;
        m.env("TZ", zone).shell("echo now");
        const auto before = std::time(nullptr);
        m.run();
        m.end();
        const std::string stamp = m.records().at(0).stamp;
        INFO("TZ=" << zone << " gives " << stamp);
        CHECK(stamp.substr(29) == offset);
        std::tm parts{};
        REQUIRE(::strptime(stamp.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) != nullptr);
        const int sign = offset[0] == '-' ? -1 : 1;
        const auto seconds_east =
            sign * (std::stoi(offset.substr(1, 2)) * 3600 + std::stoi(offset.substr(4)) * 60);
        const auto instant = ::timegm(&parts) - seconds_east;
        CHECK(instant >= before);
        CHECK(instant <= before + 20);
    }
}

TEST_CASE("Stamps have the offsets of the system's zone files, of half and quarter hours too "
          "(regression 61)") {
    for (const std::string zone : {"America/St_Johns",
                                   "Asia/Kolkata",
                                   "Australia/Lord_Howe",
                                   "Europe/Berlin",
                                   "Pacific/Chatham"}) {
        Monitor m;
        m.env("TZ", zone).shell("echo now");
        m.run();
        m.end();
        // What the C library of this test makes of the zone.
        ::setenv("TZ", zone.c_str(), 1);
        ::tzset();
        const std::time_t now = std::time(nullptr);
        std::tm parts{};
        ::localtime_r(&now, &parts);
        ::unsetenv("TZ");
        ::tzset();
        REQUIRE(parts.tm_gmtoff != 0); // the zone is installed
        const auto minutes = std::abs(parts.tm_gmtoff) / 60;
        char offset[8];
        std::snprintf(offset,
                      sizeof offset,
                      "%c%02ld:%02ld",
                      parts.tm_gmtoff < 0 ? '-' : '+',
                      minutes / 60,
                      minutes % 60);
        CHECK(m.records().at(0).stamp.substr(29) == offset);
    }
}

TEST_CASE("Stamps never go backwards") {
    Monitor m;
    m.shell("for i in 1 2 3 4 5 6 7 8 9; do sh -c 'echo a'; done");
    m.run();
    m.end();
    const auto records = m.records();
    REQUIRE(records.size() == 9);
    CHECK(std::ranges::is_sorted(records, {}, &Record::stamp));
}

TEST_CASE("none, off and null keep nothing, and the output is still taken off the container") {
    for (const std::string driver : {"none", "off", "null", "none:", "off:/some/path"}) {
        Monitor m;
        m.set("-l", driver).shell("seq 1 100000; exit 5");
        m.run();
        CHECK(m.exit_file() == "5");
        CHECK(type_of(m.log) == 0);
    }
}

TEST_CASE("Every way to write a k8s-file path opens that file (regressions 59 and 60)") {
    Monitor m;
    m.cwd = m.dir.path();
    std::string path = m.dir / "bare.log";
    std::string value = path;
    SECTION("bare") {}
    SECTION("with the driver's name") {
        value = "k8s-file:" + path;
    }
    SECTION("relative") {
        value = "relative.log";
        path = m.dir / value;
    }
    SECTION("with an empty driver") {
        value = ":" + path;
    }
    SECTION("a driver's name as a file") {
        value = ":journald";
        path = m.dir / "journald";
    }
    SECTION("with a colon") {
        path = m.dir / "a:b.log";
        value = "k8s-file:" + path;
    }
    SECTION("bare with a colon") {
        path = m.dir / "a:b.log";
        value = path;
    }
    m.set("-l", value).shell("echo here");
    m.run();
    m.end();
    CHECK(briefs(read_file(path)) == Lines{"stdout F here"});
}

TEST_CASE("Several drivers work at once, and of several files the last is used (regression 60)") {
    Monitor m;
    m.set("-l", "none").add({"-l", "k8s-file:" + (m.dir / "first.log")});
    m.add({"-l", "null", "--log-path", m.log}).shell("echo here");
    m.run();
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout F here"});
    CHECK(try_read_file(m.dir / "first.log").value_or("") == "");
}

TEST_CASE("A label with more than one = is refused with conmon's words (regression 58)") {
    Monitor m;
    m.set("-l", "journald").add({"--log-label", "A=b=c"}).shell("exit 0");
    m.start();
    CHECK(m.first_exit() == exited(1));
    CHECK(m.errors() == "[conmon:e]: Container labels must be in format LABEL=VALUE "
                        "(none or more than one '=' present in 'A=b=c')\n");
    CHECK(m.sync.rest().empty());
}

TEST_CASE("A missing journal does not disturb the k8s-file log") {
    Monitor m;
    m.add({"-l", "journald:", "--log-tag", "tag"}).shell("echo here; exit 3");
    m.run();
    CHECK(m.exit_file() == "3");
    CHECK(m.log_briefs() == Lines{"stdout F here"});
}

TEST_CASE("No output gives an empty log of mode 0640") {
    Monitor m;
    m.shell("exit 0");
    m.run();
    m.end();
    CHECK(read_file(m.log).empty());
    CHECK(mode_of(m.log) == 0640);
}

TEST_CASE("With -i the container's stdin stays open while nobody attaches") {
    Monitor m;
    m.add({"-i"}).shell("cat; exit 4");
    const pid_t container = m.run();
    Process process(container);
    CHECK(!process.wait_gone(Deadline(milliseconds(300))));
    process.kill(SIGKILL);
    CHECK(m.exit_file() == "137");
}

TEST_CASE("Without -i the container reads the end of its stdin at once") {
    Monitor m;
    m.shell("cat; exit 4");
    m.run();
    CHECK(m.exit_file() == "4");
}
