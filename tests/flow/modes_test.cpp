// The rest of the modes: passthrough, the sd_notify relay, syslog.

#include "support/mailbox.h"
#include "support/monitor.h"

#include <algorithm>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path.c_str(), path.size());
    return address;
}

// Sends one datagram; true when it was taken.
bool post(const std::string& path, const std::string& bytes) {
    const Handle socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(path);
    return ::sendto(socket.get(),
                    bytes.data(),
                    bytes.size(),
                    0,
                    reinterpret_cast<const sockaddr*>(&address),
                    sizeof address) == static_cast<ssize_t>(bytes.size());
}

struct Relay {
    Monitor m;
    std::string host = m.dir / "host.sock";
    std::string inside = m.bundle + "/notify/notify.sock";

    Relay() {
        fs::create_directory(m.bundle + "/notify");
        m.add({"--sdnotify-socket=" + host}).gate("end").shell(": <end");
    }
};

} // namespace

TEST_CASE("The relay passes what is allowed, in one datagram, and nothing else (regression 66)") {
    Relay r;
    Mailbox host(r.host);
    r.m.run();
    CHECK(type_of(r.inside) == S_IFSOCK);
    CHECK(mode_of(r.inside) == 0777);
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"READY=1\nMAINPID=1\nFDSTORE=1\nSTATUS=up\nEXTEND_TIMEOUT_USEC=5\nX_FOO=1",
         "READY=1\nSTATUS=up"},
        {"READY=1", "READY=1"},
        {"RELOADING=1\nMONOTONIC_USEC=12\n", "RELOADING=1\nMONOTONIC_USEC=12"},
        {"STOPPING=1\r\n\r\nWATCHDOG=1", "STOPPING=1\nWATCHDOG=1"},
        {"WATCHDOG=trigger\nERRNO=2\nBUSERROR=x", "WATCHDOG=trigger\nERRNO=2\nBUSERROR=x"},
        {"STATUS=", "STATUS="}};
    for (const auto& [sent, expected] : cases) {
        REQUIRE(post(r.inside, sent));
        CHECK(host.next() == expected);
    }
    for (const std::string dropped : {"MAINPID=1",
                                      "READY=1 ",
                                      "READY=0",
                                      "BARRIER=1",
                                      "NOTIFYACCESS=all",
                                      "WATCHDOG_USEC=1",
                                      "x",
                                      "\n\n",
                                      ""}) {
        REQUIRE(post(r.inside, dropped));
    }
    REQUIRE(post(r.inside, std::string("STATUS=before\0READY=1", 21)));
    CHECK(host.next() == "STATUS=before");
    CHECK(host.is_empty());
    r.m.open_gate("end");
    CHECK(r.m.exit_file() == "0");
}

TEST_CASE("Datagrams about the size of the relay's buffer are harmless (regression 68)") {
    Relay r;
    Mailbox host(r.host);
    r.m.run();
    for (const size_t size : {size_t{32767}, size_t{32768}, size_t{32769}, size_t{60000}}) {
        const std::string text = "STATUS=" + std::string(size - 7, 'x');
        REQUIRE(post(r.inside, text));
        CHECK(text.starts_with(host.next()));
    }
    REQUIRE(post(r.inside, "READY=1"));
    CHECK(host.next() == "READY=1");
    r.m.open_gate("end");
    CHECK(r.m.exit_file() == "0");
}

TEST_CASE("The relay works again when the host's socket was gone for a while (regression 67)") {
    Relay r;
    r.m.run();
    REQUIRE(post(r.inside, "STATUS=lost"));
    const pid_t pid = r.m.process().pid();
    ::usleep(100'000);
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    Mailbox host(r.host);
    REQUIRE(post(r.inside, "WATCHDOG=1"));
    std::string got = host.next();
    // A message that could be kept while the socket was gone may come first.
    if (got == "STATUS=lost") {
        got = host.next();
    }
    CHECK(got == "WATCHDOG=1");
    r.m.open_gate("end");
    CHECK(r.m.exit_file() == "0");
}

TEST_CASE("A host that does not read its socket stops nothing (regression 67)") {
    Relay r;
    Mailbox host(r.host);
    r.m.run();
    const Handle sender(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_of(r.inside);
    for (int n = 0; n < 3000; ++n) {
        (void)::sendto(sender.get(),
                       "STATUS=x",
                       8,
                       0,
                       reinterpret_cast<const sockaddr*>(&address),
                       sizeof address);
    }
    const pid_t pid = r.m.process().pid();
    ::usleep(100'000);
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    r.m.open_gate("end");
    CHECK(r.m.exit_file() == "0");
    CHECK(r.m.end() == exited(0));
}

TEST_CASE("A stale notify socket is replaced, and a missing notify directory is explained") {
    Relay r;
    Mailbox host(r.host);
    write_file(r.inside, "stale");
    r.m.run();
    REQUIRE(post(r.inside, "READY=1"));
    CHECK(host.next() == "READY=1");
    r.m.open_gate("end");
    r.m.end();

    Monitor m;
    m.add({"--sdnotify-socket=" + (m.dir / "host.sock")}).script({"exit 0"});
    m.start();
    CHECK(m.first_exit() == exited(0));
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    CHECK(Json::parse(lines[0])["message"].text().find("notify") != std::string::npos);
}

TEST_CASE(
    "passthrough gives the container the caller's stdio, and the monitor keeps none of it (F28)") {
    Monitor m;
    m.set("-l", "passthrough").gate("end").shell("cat; echo err >&2; : <end; exit 4");
    Channel in = Channel::make(Kind::pipe, Channel::Direction::to_them);
    Channel out = Channel::make(Kind::pipe, Channel::Direction::to_us);
    Channel err = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[0] = in.theirs.get();
    m.fds[1] = out.theirs.get();
    m.fds[2] = err.theirs.get();
    m.start();
    in.theirs.reset();
    out.theirs.reset();
    err.theirs.reset();
    m.container();
    REQUIRE(::write(in.ours.get(), "words\n", 6) == 6);
    in.ours.reset();
    Inbox output(std::move(out.ours));
    CHECK(output.line() == "words");
    const auto fds = fds_of(m.process().pid());
    CHECK(fds.at(0) == "/dev/null");
    CHECK(fds.at(1) == "/dev/null");
    CHECK(fds.at(2) == "/dev/null");
    CHECK(type_of(m.bundle + "/attach") == 0);
    CHECK(type_of(m.bundle + "/ctl") == 0);
    CHECK(type_of(m.bundle + "/winsz") == 0);
    m.open_gate("end");
    CHECK(output.bytes() == "");
    CHECK(Inbox(std::move(err.ours)).bytes() == "err\n");
    CHECK(m.exit_file() == "4");
    CHECK(m.end() == exited(4));
}

TEST_CASE("A failing runtime under passthrough speaks to the caller's stderr") {
    Monitor m;
    m.set("-l", "passthrough").script({"stderr nope\\n", "exit 1"});
    m.start();
    CHECK(m.errors() == "nope\n");
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    CHECK(Json::parse(lines[0])["data"].number() == -1);
    CHECK(m.end() == exited(1));
}

TEST_CASE("With passthrough and a file, the file is made and stays empty") {
    Monitor m;
    m.set("-l", "passthrough").add({"-l", "k8s-file:" + m.log}).shell("echo out; exit 0");
    Channel out = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[1] = out.theirs.get();
    m.start();
    out.theirs.reset();
    m.container();
    m.end();
    CHECK(Inbox(std::move(out.ours)).bytes() == "out\n");
    CHECK(read_file(m.log).empty());
}

TEST_CASE(
    "With passthrough and -t the container has a terminal, whose output goes to another log") {
    Monitor m;
    m.env("TMPDIR", m.sockets).set("-l", "passthrough").add({"-l", "k8s-file:" + m.log, "-t"});
    m.script({"record runtime.json",
              "console",
              "container-tty test -t 0 && echo out; exit 5",
              "pidfile",
              "exit 0"});
    m.run();
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
    CHECK(m.recorded("runtime.json")["argv"].texts().at(6) == "--console-socket");
    CHECK(m.log_briefs() == Lines{"stdout F out\r"});
    CHECK(type_of(m.bundle + "/attach") == 0);
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE("With --syslog messages go to /dev/log in conmon's form, and none is said of a plain run "
          "(regression 39)") {
    Monitor m;
    SystemLog syslog(m.dir / "dev");
    m.add({"--syslog", "-i"}).shell("while IFS= read -r l; do :; done; exit 3");
    m.run();
    auto client = m.attach();
    for (int n = 0; n < 400; ++n) {
        client.send(std::string(7999, 'x') + "\n", Deadline(seconds(20)));
    }
    client.end_input();
    CHECK(m.exit_file() == "3");
    m.end();
    // Nothing is wrong: nothing is said.
    CHECK(syslog.is_empty());

    Monitor bad;
    bad.add({"--syslog", "--log-level", "debug", "-i"}).script({"stderr nope\\n", "exit 1"});
    bad.start();
    bad.end();
    bool one_fits = false;
    while (!syslog.is_empty()) {
        const std::string line = syslog.next();
        INFO(line);
        CHECK((line.starts_with("<11>") || line.starts_with("<14>")));
        const std::string after = " conmon: conmon " + bad.id.substr(0, 20) + " <";
        CHECK(line.substr(19, after.size()) == after);
        one_fits = true;
    }
    CHECK(one_fits);
}

TEST_CASE("The end of a terminal is no warning (regression 41)") {
    Monitor m;
    SystemLog syslog(m.dir / "dev");
    m.env("TMPDIR", m.sockets).add({"-t", "--syslog", "--log-level", "warning"});
    m.script({"console", "container-tty echo out; exit 3", "pidfile", "exit 0"});
    m.run();
    CHECK(m.exit_file() == "3");
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout F out\r"});
    CHECK(syslog.drain() == "");
}

TEST_CASE("A container that has closed its stdin is one message at most, however much comes "
          "(regression 2)") {
    Monitor m;
    SystemLog syslog(m.dir / "dev");
    m.add({"-i", "--syslog", "--log-level", "warning"}).gate("end");
    m.shell("exec 0<&-; echo closed; : <end; exit 6");
    m.run();
    m.wait_log("closed");
    auto client = m.attach();
    for (int n = 0; n < 100; ++n) {
        client.send("x");
    }
    ::usleep(100'000);
    m.open_gate("end");
    CHECK(m.exit_file() == "6");
    m.end();
    CHECK(std::ranges::count(syslog.drain(), '\n') <= 1);
}
