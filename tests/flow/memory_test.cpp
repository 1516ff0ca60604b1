// The monitor's memory while its container is noisy, quiet, or talks now and then.

#include "support/memory_cgroup.h"
#include "support/monitor.h"
#include "support/mounts.h"
#include "support/rounds.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// What the monitor gives back when nothing has happened for a second, it has given back by then.
void settle() {
    ::usleep(1'500'000);
}

std::string flood(size_t megabytes) {
    return "yes 'a line of 100 bytes, of which there are very many, one like the other, so that it "
           "is "
           "only a flood.' | head -c " +
           std::to_string(megabytes) + "000000";
}

} // namespace

TEST_CASE("A flood with 4 clients takes at most 384 kB, and 1 s after it 8 kB more than before",
          "[long]") {
    const auto megabytes = static_cast<size_t>(rounds(100, 1000));
    Monitor m;
    // Most of a log that is never read again would only fill the disk.
    m.add({"--log-size-max", "50000000"});
    m.gate("go").gate("end").shell(": <go; " + flood(megabytes) + "; : <end; exit 3");
    m.run();
    const pid_t pid = m.process().pid();
    settle();
    const size_t alone = fds_of(pid).size();
    const long idle = rss_of(pid);
    std::vector<AttachClient> clients;
    std::vector<size_t> received(4);
    for (size_t n = 0; n < received.size(); ++n) {
        clients.push_back(m.attach());
    }
    REQUIRE(eventually([&] { return fds_of(pid).size() == alone + clients.size(); }));
    std::vector<std::thread> readers;
    std::atomic<int> done = 0;
    for (size_t n = 0; n < clients.size(); ++n) {
        readers.emplace_back([&, n] {
            while (received[n] < megabytes * 1'000'000) {
                received[n] += clients[n].receive(Deadline(seconds(30)))->bytes.size();
            }
            ++done;
        });
    }
    m.open_gate("go");
    long peak = 0;
    int samples = 0;
    const Deadline deadline(seconds(600));
    while (done < 4 && !deadline.passed()) {
        peak = std::max(peak, rss_of(pid));
        ++samples;
        ::usleep(5'000);
    }
    for (auto& reader : readers) {
        reader.join();
    }
    settle();
    const long after = rss_of(pid);
    CAPTURE(idle, peak, after, samples);
    CHECK(samples > 10);
    CHECK(peak <= 384);
    CHECK(after <= idle + 8);
    m.open_gate("end");
    CHECK(m.exit_file() == "3");
}

TEST_CASE("A container that prints a line now and then never makes the monitor larger by a page",
          "[long]") {
    const int lines = rounds(600, 3600);
    Monitor m;
    m.gate("go").gate("more").gate("end");
    // Mostly to stdout, as programs do.
    m.shell("say() { echo \"$1: something has happened, and this is what it was\"; "
            "[ $(($1 % 10)) != 0 ] || echo \"$1: and this was wrong\" >&2; }; "
            "echo one; : <go; n=0; while [ $n -lt 60 ]; do say $n; sleep 0.002; n=$((n+1)); done; "
            ": <more; while [ $n -lt " +
            std::to_string(lines) +
            " ]; do say $n; sleep 0.002; n=$((n+1)); done; echo >done; : <end; exit 3");
    m.run();
    m.wait_log("stdout F one");
    const pid_t pid = m.process().pid();
    settle();
    m.open_gate("go");
    m.wait_log("stdout F 59: something"); // with one that goes over the end of a page of the log
    settle();
    const long before = rss_of(pid);
    m.open_gate("more");
    long most = 0;
    const Deadline deadline(seconds(120));
    while (!try_read_file(m.bundle + "/done") && !deadline.passed()) {
        most = std::max(most, rss_of(pid));
        ::usleep(5'000);
    }
    m.wait_log(std::to_string(lines - 1) + ": something");
    settle();
    const long after = rss_of(pid);
    CAPTURE(before, most, after);
    // What an idle monitor may have: lines now and then need nothing that it has given back.
    CHECK(before <= 96);
    CHECK(most <= before);
    CHECK(after <= before);
    m.open_gate("end");
    CHECK(m.exit_file() == "3");
}

TEST_CASE("A second after a line that needed more than usual the monitor is small again") {
    struct Way {
        const char* what;
        std::vector<std::string> options;
        std::vector<std::pair<std::string, std::string>> environment;
        // A page each of the stream's buffer and of the file's ring; of the journal's two buffers.
        long kept_kb = 8;
    };
    const std::vector<Way> ways{
        {"the first line, whose stamp needs the time zone", {}, {}},
        {"a line for which the log is rotated", {"--log-size-max", "70"}, {}},
        {"a line beside a journal that is missing", {"-l", "journald:"}, {}, 16},
        {"a line at a limited rate", {}, {{"MOTE_LOG_RATE", "100000"}}},
        {"a line that could be dropped",
         {},
         {{"MOTE_LOG_RATE", "100000"}, {"MOTE_LOG_EXCESS", "drop"}}},
    };
    std::vector<std::unique_ptr<Monitor>> monitors;
    for (const Way& way : ways) {
        auto& m = *monitors.emplace_back(std::make_unique<Monitor>());
        m.add(way.options);
        for (const auto& [name, value] : way.environment) {
            m.env(name, value);
        }
        m.gate("go").gate("more").gate("end").shell(
            ": <go; echo the first of them; : <more; echo the second one; : <end; exit 3");
        m.run();
    }
    settle();
    std::vector<long> idle;
    for (const auto& m : monitors) {
        idle.push_back(rss_of(m->process().pid()));
    }
    const auto is_small_after = [&](const char* gate, const char* line) {
        for (const auto& m : monitors) {
            m->open_gate(gate);
            m->wait_log(line);
        }
        settle();
        for (size_t n = 0; n < ways.size(); ++n) {
            const long after = rss_of(monitors[n]->process().pid());
            INFO(line << ": " << ways[n].what << ": " << idle[n] << " kB before, " << after
                      << " kB after it");
            CHECK(after <= idle[n] + ways[n].kept_kb);
            CHECK(after <= 96);
        }
    };
    is_small_after("go", "stdout F the first of them");
    is_small_after("more", "stdout F the second one");
    for (const auto& m : monitors) {
        m->open_gate("end");
        CHECK(m->exit_file() == "3");
    }
}

TEST_CASE("A monitor whose own cgroup may have 1 MB survives a flood (regression 30)", "[long]") {
    const auto megabytes = static_cast<size_t>(rounds(50, 1000));
    MemoryCgroup inside("inside");
    const MemoryCgroup outside("outside");
    inside.limit(1 << 20);
    Monitor m;
    // Of the log's pages, too, the group is charged. They are kept few and off the disk, since what
    // a disk has not written yet cannot be given back, and the kernel would kill for that.
    const Mount disk = Mount::tmpfs(m.dir / "disk", "4m");
    const std::string log = m.dir / "disk/ctr.log";
    m.set("-l", "k8s-file:" + log).add({"--log-size-max", "100000"});
    m.in_child = [&] { write_file(inside.procs(), "0"); };
    m.gate("go");
    m.script({"join " + outside.procs(),
              "container : <go; " + flood(megabytes) + "; echo; echo last; exit 3",
              "pidfile",
              "exit 0"});
    m.run();
    CHECK(read_file(inside.procs()) == std::to_string(m.process().pid()) + "\n");
    m.open_gate("go"); // in the flood there may be a shield (src/sys/shield.h) too
    CHECK(m.end(Deadline(seconds(rounds(60, 600)))) == exited(3));
    CHECK(m.exit_file() == "3");
    const auto records = parse_k8s(read_file(log));
    REQUIRE(!records.empty());
    CHECK(records.back().content == "last");
}
