// The log under load: the processors are busy, the container writes as fast as it can, the log is
// rotated, renamed and reopened, and the monitor killed, all at the same time. No line is lost,
// none doubled, the order is kept, and each record is whole.

#include "support/load.h"
#include "support/monitor.h"
#include "support/rounds.h"

#include <algorithm>
#include <csignal>
#include <random>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

constexpr int lines_wanted = 300'000;

std::string numbered(int first, int last) {
    std::string lines;
    char line[16];
    for (int n = first; n <= last; ++n) {
        std::snprintf(line, sizeof line, "line %07d\n", n);
        lines += line;
    }
    return lines;
}

// A container that prints numbered lines until there is a file B/stop.
constexpr const char* numbers_until_stopped =
    "n=0; while [ ! -e stop ]; do seq -f 'line %07.0f' $((n+1)) $((n+2500)); n=$((n+2500)); done; "
    "exit 3";

// What all files whose name begins with the log's hold, in the order in which it was written: by
// the stamp of the first record, and by its number where one turn has written several files. Each
// file must be whole records.
std::string all_payload(const Monitor& m) {
    std::vector<std::vector<Record>> files;
    for (const std::string& name : names_in(m.bundle)) {
        if (name.starts_with("ctr.log")) {
            auto records = parse_k8s(read_file(m.bundle + "/" + name));
            if (!records.empty()) {
                files.push_back(std::move(records));
            }
        }
    }
    std::ranges::sort(files, [](const auto& one, const auto& other) {
        return std::pair(one.front().stamp, one.front().content) <
               std::pair(other.front().stamp, other.front().content);
    });
    std::vector<Record> all;
    for (auto& records : files) {
        std::ranges::move(records, std::back_inserter(all));
    }
    return payload_of(all);
}

// The number of the last line.
int count_of(const std::string& payload) {
    return static_cast<int>(payload.size() / numbered(1, 1).size());
}

bool is_reopened(const std::string& path, ino_t before) {
    return eventually([&] {
        struct stat info{};
        return ::stat(path.c_str(), &info) == 0 && info.st_ino != before;
    });
}

// Takes the log its name, as the kubelet does; its inode. The monitor may be rotating it just now.
ino_t rename_log(const Monitor& m, const std::string& to) {
    struct stat info{};
    REQUIRE(eventually([&] { return ::rename(m.log.c_str(), to.c_str()) == 0; }));
    REQUIRE(::stat(to.c_str(), &info) == 0);
    return info.st_ino;
}

// The newest file of a monitor that was killed, once the write that was under way has come to its
// end.
std::string settled_log(const Monitor& m) {
    std::string newest;
    uintmax_t size = 0;
    REQUIRE(eventually([&] {
        ::usleep(50'000);
        const bool is_between_steps = type_of(m.log) == 0 || fs::file_size(m.log) == 0;
        newest = is_between_steps ? m.log + ".1" : m.log; // of a rotation
        return std::exchange(size, fs::file_size(newest)) == size;
    }));
    return newest;
}

} // namespace

TEST_CASE("300000 lines under load come through more than 70 rotations, each once and in order "
          "(regression 45)") {
    const Load load;
    Monitor m;
    m.add({"--log-rotate", "--log-max-files", "100", "--log-size-max", "240000"});
    m.shell("seq -f 'line %07.0f' 1 300000; exit 3");
    m.run();
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(60))) == "3");
    m.end();
    const auto names = names_in(m.bundle);
    const auto logs = std::ranges::count_if(
        names, [](const std::string& name) { return name.starts_with("ctr.log"); });
    CHECK(logs > 70);
    for (const std::string& name : names) {
        if (name.starts_with("ctr.log")) {
            CHECK(fs::file_size(m.bundle + "/" + name) <= 240'000);
        }
    }
    CHECK((all_payload(m) == numbered(1, lines_wanted)));
}

TEST_CASE(
    "Lines under load come through 20 renames and reopenings by ctl and by HUP, each once and "
    "in order (regression 49)") {
    const Load load;
    const bool rotates = GENERATE(false, true);
    const bool by_signal = GENERATE(false, true);
    CAPTURE(rotates, by_signal);
    Monitor m;
    if (rotates) {
        m.add({"--log-rotate", "--log-max-files", "1000", "--log-size-max", "240000"});
    }
    m.shell(numbers_until_stopped);
    m.run();
    std::mt19937 random(7);
    for (int n = 0; n < 20; ++n) {
        ::usleep(random() % 30'000);
        const ino_t before = rename_log(m, m.log + ".away-" + std::to_string(n));
        if (by_signal) {
            m.process().kill(SIGHUP);
        } else {
            m.control("2 0 0\n");
        }
        REQUIRE(is_reopened(m.log, before));
    }
    const size_t enough = static_cast<size_t>(lines_wanted) * 58;
    REQUIRE(eventually(
        [&] {
            size_t size = 0;
            std::error_code gone;
            for (const std::string& name : names_in(m.bundle)) {
                const auto more = fs::file_size(m.bundle + "/" + name, gone);
                size += name.starts_with("ctr.log") && !gone ? more : 0;
            }
            return size >= enough;
        },
        seconds(60)));
    write_file(m.bundle + "/stop", "");
    CHECK(m.exit_file() == "3");
    m.end();
    const std::string payload = all_payload(m);
    const int count = count_of(payload);
    CHECK(count >= lines_wanted);
    CHECK(count % 2500 == 0);
    CHECK((payload == numbered(1, count)));
}

// The kernel ends a write at a page when its process is killed, wherever a record is then; so the
// writes that go over the end of a page are made by a process of their own (sys/shield.h).
TEST_CASE("A monitor that is killed at any moment leaves whole records, and its successor goes on",
          "[long]") {
    enum Kind { flood, rotated_flood, pieces, terminal, kinds };
    std::mt19937 random(11);
    for (int run = 0; run < rounds(60, 1000); ++run) {
        const auto kind = static_cast<Kind>(run % kinds);
        CAPTURE(run, kind);
        Monitor m;
        if (kind == rotated_flood) {
            m.add({"--log-rotate", "--log-max-files", "1000", "--log-size-max", "240000"});
        }
        const std::string command =
            kind == pieces
                ? "n=0; while :; do seq -f 'line %07.0f' $((n+1)) $((n+200)); n=$((n+200)); done"
                : "exec seq -f 'line %07.0f' 1 2000000";
        if (kind == terminal) {
            m.env("TMPDIR", m.sockets).add({"-t"});
            m.script({"console", "container-tty stty -opost; " + command, "pidfile", "exit 0"});
        } else {
            m.shell(command);
        }
        m.run();
        m.wait_log("stdout");
        ::usleep(random() % 40'000);
        m.process().kill(SIGKILL);
        m.end();
        const std::string newest = settled_log(m);
        // The last line may be in part, since the container was killed too.
        const std::string payload = all_payload(m);
        REQUIRE(!payload.empty());
        REQUIRE(numbered(1, count_of(payload) + 1).starts_with(payload));
        // The next monitor goes on with it.
        Monitor next;
        next.set("-l", "k8s-file:" + newest).shell("echo next");
        next.run();
        next.end();
        CHECK(parse_k8s(read_file(newest)).back().content == "next");
    }
}

TEST_CASE(
    "Lines of 1 to 16,384 bytes, written as fast as possible, are one record each (regression "
    "52)") {
    std::mt19937 random(13);
    std::string data;
    int lines = 0;
    while (data.size() < 40'000'000) {
        // As many short lines as long ones, in bytes and not in lines.
        const size_t most = size_t{1} << (random() % 15);
        data += std::string(1 + random() % most, static_cast<char>('a' + lines % 26)) + "\n";
        ++lines;
    }
    Monitor m;
    write_file(m.bundle + "/data", data);
    // Before everybody else, since a writer that pauses within a line is to have it cut.
    m.shell("chrt -f 1 true && exec chrt -f 1 cat data; exec cat data");
    m.run();
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(60))) == "0");
    const auto records = m.records();
    CHECK(std::ranges::count(records, 'P', &Record::tag) == 0);
    CHECK(records.size() == static_cast<size_t>(lines));
    CHECK((payload_of(records) == data));
}

TEST_CASE("A prompt without a newline is in the log within 50 ms") {
    auto best = milliseconds(10'000);
    for (int run = 0; run < 10 && best >= milliseconds(50); ++run) {
        Monitor m;
        m.gate("go").gate("end").shell("echo ready; : <go; printf 'login: '; : <end");
        m.run();
        m.wait_log("ready");
        DirWatch watch;
        watch.add(m.bundle);
        const auto start = std::chrono::steady_clock::now();
        m.open_gate("go");
        while (read_file(m.log).find("stdout P login: \n") == std::string::npos) {
            watch.next();
        }
        best = std::min(
            best,
            std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start));
        m.open_gate("end");
    }
    // The best of several: a neighbour on the machine can only make it worse.
    CHECK(best < milliseconds(50));
}
