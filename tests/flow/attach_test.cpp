// The attach socket without a terminal: output to any number of clients, input from them, and the
// clients that are slow, silent, gone or too many.

#include "support/monitor.h"
#include "support/rounds.h"

#include <csignal>
#include <random>
#include <thread>

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

std::string noise(size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string bytes;
    while (bytes.size() < size) {
        bytes += static_cast<char>(random());
    }
    return bytes;
}

// How many sockets the process has open. Other descriptors come and go while a start is being
// finished.
size_t sockets_of(pid_t pid) {
    size_t sockets = 0;
    for (const auto& [fd, target] : fds_of(pid)) {
        sockets += target.starts_with("socket:") ? 1 : 0;
    }
    return sockets;
}

// Attaches, and waits until the monitor has accepted the client, which shows in its sockets.
AttachClient accepted(Monitor& m) {
    const pid_t pid = m.process().pid();
    const size_t before = sockets_of(pid);
    auto client = m.attach();
    REQUIRE(eventually([&] { return sockets_of(pid) > before; }));
    return client;
}

// A container that waits at the gate `go`, and one client that was there from the start.
AttachClient run_with_client(Monitor& m) {
    m.gate("go");
    m.run();
    return accepted(m);
}

// Ticks that the process spends while nothing is asked of it for 300 ms.
long ticks_while_idle(pid_t pid) {
    ::usleep(50'000);
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    return cpu_ticks(pid) - before;
}

ino_t inode_of(const std::string& path) {
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_ino;
}

// A reopening asked for through ctl is seen by the log's new inode.
void check_ctl_is_served(Monitor& m) {
    const ino_t before = inode_of(m.log);
    m.control("2 0 0\n");
    CHECK(eventually([&] { return inode_of(m.log) != before; }));
}

} // namespace

TEST_CASE("Every client gets every byte of both streams in packets of at most 8,192 bytes") {
    Monitor m;
    m.shell(": <go; cat data; cat data >&2");
    const std::string data = noise(300'000, 1);
    write_file(m.bundle + "/data", data);
    auto first = run_with_client(m);
    auto second = accepted(m);
    auto third = accepted(m);
    m.open_gate("go");
    std::vector<AttachClient::Output> all(3);
    std::thread one([&] { all[0] = first.receive_all(); });
    std::thread two([&] { all[1] = second.receive_all(); });
    all[2] = third.receive_all();
    one.join();
    two.join();
    for (const auto& output : all) {
        CHECK((output.out == data));
        CHECK((output.err == data));
        CHECK(output.longest <= 8192);
    }
    CHECK(m.exit_file() == "0");
}

TEST_CASE(
    "A client that connected before the output was written gets it, however busy the monitor is") {
    for (int run = 0; run < 5; ++run) {
        Monitor m;
        m.gate("go").shell(": <go; echo out; echo >written; exit 3");
        m.run();
        m.process().kill(SIGSTOP);
        auto client = m.attach();
        m.open_gate("go");
        wait_file(m.bundle + "/written");
        m.process().kill(SIGCONT);
        CHECK(client.receive_all().out == "out\n");
        CHECK(m.exit_file() == "3");
    }
}

TEST_CASE("A client that comes late gets what comes then, without a replay") {
    Monitor m;
    m.gate("go").shell("echo early; : <go; echo late");
    m.run();
    m.wait_log("early");
    auto client = accepted(m);
    m.open_gate("go");
    CHECK(client.receive_all().out == "late\n");
}

TEST_CASE("A client that never reads holds back neither status, exit command, ctl, other clients "
          "nor the log (regression 1)") {
    Monitor m;
    m.gate("hold");
    m.shell(": <go; yes 0123456789abcdef; exit 3").exit_script({"mark ran"});
    m.gate("go");
    Process container(m.run());
    auto silent = accepted(m);
    auto reader = accepted(m);
    m.open_gate("go");
    // The reader gets something, then the silent one stops everything but the monitor.
    std::string got = reader.receive_until("f\n");
    const pid_t monitor = m.process().pid();
    bool paused = false;
    const Deadline deadline(soon);
    while (!paused && !deadline.passed()) {
        if (wait_readable(reader.fd(), Deadline(milliseconds(200)))) {
            got += reader.receive()->bytes;
        } else {
            paused = true;
        }
    }
    CHECK(paused);
    CHECK(ticks_while_idle(monitor) <= 1);
    check_ctl_is_served(m);
    container.kill(SIGKILL);
    CHECK(m.exit_file() == "137");
    CHECK(m.end(Deadline(seconds(3))) == exited(137));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    // Both clients get everything that was read, the silent one when it wakes up after the end.
    const std::string expected = [] {
        std::string lines;
        for (int n = 0; n < 200'000; ++n) {
            lines += "0123456789abcdef\n";
        }
        return lines;
    }();
    const std::string late = silent.receive_all().out;
    CHECK(late.size() > 8192);
    CHECK(expected.starts_with(late));
    const auto rest = reader.receive_all().out;
    CHECK(rest.size() > 0);
    CHECK(eventually([] {
        for (const pid_t pid : children_of(::getpid())) {
            if (stat_field(pid, 3) == "Z") {
                Process(pid).wait();
            }
        }
        return descendants().empty();
    }));
}

TEST_CASE("Log and silent client have the same bytes when the container has ended (regression 1)") {
    Monitor m;
    m.shell(": <go; cat data; exit 3");
    // More than a socket holds (13 packets), less than pipes and sockets together.
    const std::string data = noise(150'000, 2);
    write_file(m.bundle + "/data", data);
    auto silent = run_with_client(m);
    m.open_gate("go");
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
    CHECK((payload_of(m.records()) == data));
    CHECK((silent.receive_all().out == data));
}

TEST_CASE("A silent client that goes away lets the container go on without loss (regression 1)") {
    Monitor m;
    m.shell(": <go; seq 1 400000; exit 3");
    auto silent = run_with_client(m);
    m.open_gate("go");
    CHECK(!wait_readable(m.sync.fd(), Deadline(milliseconds(300))));
    CHECK(m.process().is_running());
    silent.close();
    CHECK(m.exit_file() == "3");
    const std::string written = payload_of(m.records());
    CHECK(std::ranges::count(written, '\n') == 400'000);
    CHECK(written.ends_with("\n400000\n"));
}

TEST_CASE(
    "MOTE_ATTACH_STALL_MS drops a client that takes nothing, and nobody else (regression 1)") {
    Monitor m;
    m.env("MOTE_ATTACH_STALL_MS", "200");
    m.shell(": <go; seq 1 400000; exit 3");
    auto silent = run_with_client(m);
    auto reader = accepted(m);
    m.open_gate("go");
    const std::string got = reader.receive_all(Deadline(seconds(30))).out;
    CHECK(std::ranges::count(got, '\n') == 400'000);
    CHECK(m.exit_file() == "3");
    const std::string written = payload_of(m.records());
    CHECK(std::ranges::count(written, '\n') == 400'000);
}

TEST_CASE(
    "MOTE_ATTACH_STALL_MS does not count the time in which the log is waited for at the end") {
    Monitor m;
    const std::string fifo = m.dir / "fifo"; // which nobody reads
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    m.env("MOTE_ATTACH_STALL_MS", "1500").set("-l", "k8s-file:" + fifo);
    // All of it in one pipe, made larger, while we are stopped: more than the client's socket
    // holds.
    m.gate("go").shell(": <go; exec python3 -c 'import fcntl, os; fcntl.fcntl(1, 1031, 1 << 18); "
                       "os.write(1, (b\"x\" * 99 + b\"\\n\") * 2500)'");
    m.run();
    auto client = accepted(m);
    m.process().kill(SIGSTOP);
    m.open_gate("go");
    ::usleep(500'000);
    m.process().kill(SIGCONT);
    CHECK(m.exit_file() == "0");
    CHECK(client.receive_all().out.size() == 250'000);
}

TEST_CASE("A slow client that reads in bursts gets every byte (regression 21)", "[long]") {
    Monitor m;
    const int lines = 3'000'000 * rounds(1, 20); // 27 MB, or 540
    m.set("-l", "none").shell(": <go; exec seq -f %08.0f " + std::to_string(lines));
    auto client = run_with_client(m);
    m.open_gate("go");
    // Each line has 9 bytes, and the next one is looked for where the last one ended.
    int last = 0;
    std::string held;
    int packets = 0;
    while (auto packet = client.receive()) {
        REQUIRE(packet->bytes.size() <= 8192);
        REQUIRE(packet->stream == 2);
        held += packet->bytes;
        size_t at = 0;
        for (; held.size() - at >= 9; at += 9) {
            if (std::stoi(held.substr(at, 8)) != ++last) {
                FAIL("line " << last << " is " << held.substr(at, 9));
            }
        }
        held.erase(0, at);
        if (++packets % 300 == 0) {
            ::usleep(static_cast<useconds_t>(rounds(20'000, 200'000)));
        }
    }
    CHECK(held.empty());
    CHECK(last == lines);
    CHECK(m.exit_file() == "0");
}

TEST_CASE("A container that has closed its stdin costs no CPU when input comes (regression 2)") {
    for (const bool leave_open : {false, true}) {
        for (const bool queued : {false, true}) {
            Monitor m;
            m.add({"-i"});
            if (leave_open) {
                m.add({"--leave-stdin-open"});
            }
            m.gate("close").shell(
                ": <close; exec 0<&-; echo closed; : <go; echo still here; exit 6");
            auto client = run_with_client(m);
            const std::string block(30'000, 'x');
            if (queued) {
                while (client.try_send(block)) {
                    ::usleep(1000);
                }
            }
            m.open_gate("close");
            CHECK(client.receive_until("closed\n") == "closed\n");
            client.send("x");
            const pid_t pid = m.process().pid();
            CHECK(ticks_while_idle(pid) <= 1);
            m.open_gate("go");
            CHECK(client.receive_all().out == "closed\nstill here\n");
            CHECK(m.exit_file() == "6");
        }
    }
}

TEST_CASE(
    "1,000 clients that come and go leave no descriptor and no CPU use behind (regression 4)") {
    Monitor m;
    m.shell(": <go; echo out");
    auto client = run_with_client(m);
    client.close();
    const pid_t pid = m.process().pid();
    const auto settled = [&] { return fds_of(pid).size(); };
    ::usleep(100'000);
    const size_t before = settled();
    for (int n = 0; n < 1000; ++n) {
        auto passing = m.attach();
        if (n % 3 == 1) {
            passing.end_input();
        }
        if (n % 3 == 2) {
            passing.send("unasked for");
        }
    }
    CHECK(eventually([&] { return settled() <= before; }));
    CHECK(ticks_while_idle(pid) <= 1);
    auto last = accepted(m);
    m.open_gate("go");
    CHECK(last.receive_all().out == "out\n");
}

TEST_CASE("More clients than descriptors cost no CPU, and attaching works again afterwards "
          "(regression 4)") {
    Monitor m;
    m.in_child = [] {
        const rlimit few{.rlim_cur = 64, .rlim_max = 64};
        ::setrlimit(RLIMIT_NOFILE, &few);
    };
    m.gate("again").shell(": <go; echo out; : <again; echo more");
    auto first = run_with_client(m);
    const pid_t pid = m.process().pid();
    const size_t alone = sockets_of(pid);
    std::vector<AttachClient> many;
    for (int n = 0; n < 100; ++n) {
        // Once the monitor accepts no more, a few wait in the queue, and the rest is turned away.
        if (auto client = AttachClient::try_connect(m.bundle)) {
            many.push_back(std::move(*client));
        } else {
            ::usleep(2000);
        }
    }
    CHECK(many.size() >= 30);
    CHECK(ticks_while_idle(pid) <= 1);
    m.open_gate("go");
    CHECK(first.receive_until("out\n") == "out\n");
    many.clear();
    CHECK(eventually([&] { return sockets_of(pid) <= alone; }));
    auto later = accepted(m);
    m.open_gate("again");
    CHECK(first.receive_all().out == "out\nmore\n");
    CHECK(later.receive_all().out == "more\n");
}

TEST_CASE("64 clients at once are all served") {
    Monitor m;
    m.shell(": <go; echo out");
    std::vector<AttachClient> all;
    all.push_back(run_with_client(m));
    while (all.size() < 64) {
        all.push_back(accepted(m));
    }
    CHECK(ticks_while_idle(m.process().pid()) == 0);
    m.open_gate("go");
    for (auto& client : all) {
        CHECK(client.receive_all().out == "out\n");
    }
}

TEST_CASE("Input reaches the container byte for byte, and its end too (regression 9)") {
    Monitor m;
    m.add({"-i"}).shell(": <go; wc -c");
    auto client = run_with_client(m);
    std::thread feeder([&] {
        for (int n = 0; n < 400; ++n) {
            client.send(std::string(8000, 'x'), Deadline(seconds(20)));
        }
        client.end_input();
    });
    m.open_gate("go");
    feeder.join();
    CHECK(m.exit_file() == "0");
    CHECK(m.log_briefs() == Lines{"stdout F 3200000"});
}

TEST_CASE("16 MB go through the container both ways unchanged, with stalls on either side "
          "(regression 9)") {
    Monitor m;
    m.set("-l", "none").add({"-i"}).shell("cat");
    const std::string data = noise(16'000'000, 3);
    m.run();
    auto client = m.attach();
    std::thread feeder([&] {
        std::mt19937 random(4);
        for (size_t at = 0; at < data.size();) {
            const size_t size = std::min<size_t>(1 + random() % 32768, data.size() - at);
            client.send({data.data() + at, size}, Deadline(seconds(30)));
            at += size;
            if (random() % 200 == 0) {
                ::usleep(5'000);
            }
        }
        client.end_input();
    });
    std::string got;
    std::mt19937 random(5);
    while (auto packet = client.receive(Deadline(seconds(30)))) {
        got += packet->bytes;
        if (random() % 500 == 0) {
            ::usleep(5'000);
        }
    }
    feeder.join();
    CHECK((got == data));
    CHECK(m.exit_file() == "0");
}

TEST_CASE("Input of a container that does not read waits without CPU, while output flows "
          "(regression 9)") {
    Monitor m;
    m.add({"-i"}).gate("read").shell("echo one; : <go; echo two; : <read; wc -c");
    auto client = run_with_client(m);
    size_t sent = 0;
    const std::string block(10'000, 'x');
    for (int full = 0; full < 20;) {
        if (client.try_send(block)) {
            sent += block.size();
        } else {
            ++full;
            ::usleep(5'000);
        }
    }
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("go");
    client.receive_until("two\n");
    client.end_input();
    m.open_gate("read");
    CHECK(client.receive_all().out.ends_with("two\n" + std::to_string(sent) + "\n"));
}

TEST_CASE(
    "A client's end of input ends the container's, unless --leave-stdin-open (regression 24)") {
    for (const std::string how : {"shutdown", "close", "empty packet"}) {
        for (const bool leave_open : {false, true}) {
            Monitor m;
            m.add({"-i"});
            if (leave_open) {
                m.add({"--leave-stdin-open"});
            }
            m.gate("go").shell("cat; echo ended; : <go");
            m.run();
            {
                auto client = m.attach();
                client.send("words\n");
                m.wait_log("words");
                if (how == "shutdown") {
                    client.end_input();
                    // Output goes on after a half-close.
                    if (!leave_open) {
                        client.receive_until("ended\n");
                    }
                } else if (how == "empty packet") {
                    REQUIRE(::write(client.fd(), "", 0) >= 0);
                    client.try_send("");
                }
                if (how != "close") {
                    ::usleep(20'000);
                }
            }
            INFO(how << (leave_open ? " left open" : ""));
            if (leave_open) {
                auto next = m.attach();
                next.send("more\n");
                m.wait_log("more");
                CHECK(read_file(m.log).find("ended") == std::string::npos);
            } else {
                m.wait_log("ended");
                m.open_gate("go");
                CHECK(m.exit_file() == "0");
            }
        }
    }
}

TEST_CASE("Without -i a client's input and its end go nowhere and disturb nothing") {
    Monitor m;
    m.shell(": <go; echo out; cat; exit 4");
    auto client = run_with_client(m);
    client.send("unasked for");
    client.try_send("more");
    client.end_input();
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    auto other = accepted(m);
    m.open_gate("go");
    CHECK(other.receive_all().out == "out\n");
    CHECK(m.exit_file() == "4");
}

TEST_CASE("A packet's first 32,768 bytes are input (regression 68)") {
    for (const size_t size : {size_t{32767}, size_t{32768}, size_t{32769}}) {
        Monitor m;
        m.add({"-i"}).shell("wc -c");
        m.run();
        auto client = m.attach();
        client.send(std::string(size, 'x'));
        client.end_input();
        CHECK(client.receive_all().out == std::to_string(std::min<size_t>(size, 32768)) + "\n");
    }
}

TEST_CASE("Several writers' packets are delivered whole") {
    Monitor m;
    m.add({"-i", "--leave-stdin-open"}).shell("head -n 900 | sort | uniq -c");
    m.run();
    std::vector<std::thread> writers;
    for (int n = 0; n < 3; ++n) {
        writers.emplace_back([&m, n] {
            auto client = m.attach();
            const std::string line(2000, static_cast<char>('a' + n));
            for (int k = 0; k < 300; ++k) {
                client.send(line + "\n", Deadline(seconds(20)));
            }
            // Stay until the end: leaving is not this test's subject.
            client.receive_all(Deadline(seconds(20)));
        });
    }
    for (auto& writer : writers) {
        writer.join();
    }
    CHECK(m.exit_file() == "0");
    const auto records = m.records();
    REQUIRE(records.size() == 3);
    for (size_t n = 0; n < 3; ++n) {
        CHECK(records[n].content == "    300 " + std::string(2000, static_cast<char>('a' + n)));
    }
}

TEST_CASE("Input that is sent before the runtime has started the container is delivered "
          "(regression 70)") {
    Monitor m;
    m.add({"-i"}).gate("runtime");
    m.script({"mark runs", "gate runtime", "container cat", "pidfile", "exit 0"});
    m.start();
    wait_file(m.bundle + "/runs");
    auto client = m.attach();
    client.send("early words\n");
    client.end_input();
    m.open_gate("runtime");
    m.container();
    CHECK(client.receive_all().out == "early words\n");
    CHECK(m.exit_file() == "0");
}

TEST_CASE("12,000 resizes of a container without a terminal delay nothing (regression 5)") {
    Monitor m;
    m.gate("end").shell(": <end; exit 5");
    m.run();
    std::string lines;
    for (int n = 0; n < 12'000; ++n) {
        lines += "1 24 80\n";
    }
    m.control(lines);
    check_ctl_is_served(m);
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "5");
}

TEST_CASE("Bad ctl lines cost only themselves, whatever their length (regressions 49 and 68)") {
    Monitor m;
    m.gate("end").shell("echo out; : <end; exit 5");
    m.run();
    for (const std::string& bad : {std::string("9 1 1\n"),
                                   std::string("garbage\n"),
                                   std::string("\n"),
                                   std::string("1\n"),
                                   std::string("1 x y\n"),
                                   std::string("1 1001 5\n"),
                                   std::string("2 -1 0\n"),
                                   std::string(198, 'x') + "\n",
                                   std::string(199, 'x') + "\n",
                                   std::string(200, 'x') + "\n",
                                   std::string(400, 'x') + "\n",
                                   std::string(100'000, 'x') + "\n",
                                   std::string("1 24 80\0 x\n", 11)}) {
        const ino_t before = inode_of(m.log);
        m.control(bad + "2 0 0\n");
        INFO(bad.substr(0, 20) << " of " << bad.size() << " bytes");
        CHECK(eventually([&] { return inode_of(m.log) != before; }, seconds(2)));
    }
    // A line in pieces of one byte.
    const ino_t before = inode_of(m.log);
    for (const char c : std::string("2 0 0\n")) {
        m.control(std::string(1, c));
    }
    CHECK(eventually([&] { return inode_of(m.log) != before; }));
    // 199 bytes in several writes, without an end (conmon spins then).
    for (int n = 0; n < 199; ++n) {
        m.control("x");
    }
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "5");
}

TEST_CASE("Garbage and floods on winsz are harmless without a terminal") {
    Monitor m;
    m.gate("end").shell(": <end; exit 5");
    m.run();
    std::string lines = "24 80\ngarbage\n" + std::string(1000, 'x') + "\n";
    for (int n = 0; n < 20'000; ++n) {
        lines += "24 80\n";
    }
    // Nobody has to read it while there is no terminal: the write may fill the fifo, no more.
    try {
        write_fifo(m.bundle + "/winsz", lines, Deadline(milliseconds(300)));
    } catch (const TimedOut&) {
    }
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    check_ctl_is_served(m);
    m.open_gate("end");
    CHECK(m.exit_file() == "5");
}
