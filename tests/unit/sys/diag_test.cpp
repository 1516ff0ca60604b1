// Diagnostics: conmon's formats (contract.md 1.3) on standard error, and in a system log that a
// private mount namespace puts at /dev/log.

#include "shadow/faults.h"
#include "support/files.h"
#include "support/mounts.h"
#include "sys/diag.h"
#include "sys/socket.h"
#include "unit/sys/ours.h"

#include <optional>
#include <regex>

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

using shadow::Faults;
using sys::Diag;
using sys::Fd;
using sys::Severity;

namespace {

// Whatever `act` writes to standard error.
std::string stderr_of(const std::function<void()>& act) {
    sys::Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    const int saved = ::fcntl(2, F_DUPFD_CLOEXEC, 10);
    ::dup2(pipe.write_end.number(), 2);
    act();
    ::dup2(saved, 2);
    ::close(saved);
    std::string text;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::read(pipe.read_end.number(), buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<size_t>(count));
    }
    return text;
}

Diag diag_of(const Diag::Settings& settings) {
    Diag diag;
    diag.configure(settings);
    return diag;
}

Diag diag_at(Severity detail) {
    return diag_of({.detail = detail, .subject = {}});
}

} // namespace

TEST_CASE("a message on standard error is a line with its severity's letter") {
    CHECK(stderr_of([] {
              Diag diag = diag_at(Severity::trace);
              diag.say(Severity::error, "one");
              diag.say(Severity::warning, "two");
              diag.say(Severity::info, "three");
              diag.say(Severity::debug, "four");
              diag.say(Severity::trace, "five");
          }) == "[conmon:e]: one\n[conmon:w]: two\n[conmon:i]: three\n[conmon:d]: four\n"
                "[conmon:d]: five\n");
}

TEST_CASE("only what is as important as asked for is said, errors always") {
    for (int detail = 0; detail <= static_cast<int>(Severity::trace); ++detail) {
        Diag diag = diag_at(static_cast<Severity>(detail));
        for (int severity = 0; severity <= static_cast<int>(Severity::trace); ++severity) {
            const bool said =
                !stderr_of([&] { diag.say(static_cast<Severity>(severity), "x"); }).empty();
            CHECK(said == (severity <= detail));
            CHECK(said == diag.says(static_cast<Severity>(severity)));
        }
    }
    Diag fresh; // warnings and errors
    CHECK(stderr_of([&] {
              fresh.error("e");
              fresh.warning("w");
              fresh.debug("d");
          }) == "[conmon:e]: e\n[conmon:w]: w\n");
}

TEST_CASE("a message with an error names the step and the reason") {
    CHECK(stderr_of([] {
              Diag diag;
              diag.warning("Failed to reopen the log, ignoring",
                           base::Error{.code = ENOSPC, .call = "rename log file"});
          }) == "[conmon:w]: Failed to reopen the log, ignoring: rename log file: No space left on "
                "device\n");
}

TEST_CASE("a long message is cut, and stays one line") {
    const std::string text(5000, 'x');
    const std::string plain = stderr_of([&] { Diag{}.error(text); });
    CHECK(plain.size() >= 1024);
    CHECK(plain.size() <= 1200);
    CHECK(plain.back() == '\n');
    const std::string with_error = stderr_of(
        [&] { Diag{}.say(Severity::error, text, base::Error{.code = EIO, .call = "write"}); });
    CHECK(with_error.size() >= 1024);
    CHECK(with_error.back() == '\n');
}

TEST_CASE("nothing is written to standard error once it has been left") {
    CHECK(stderr_of([] {
              Diag diag;
              diag.leave_standard_error();
              diag.error("x");
          }).empty());
}

TEST_CASE("a standard error that refuses is no matter") {
    const Faults faults("write", 1, EIO);
    CHECK(stderr_of([] {
              Diag diag;
              diag.error("lost");
              diag.error("said");
          }) == "[conmon:e]: said\n");
}

namespace {

// A stand-in for the system log, at /dev/log of this program alone.
class SystemLog {
  public:
    SystemLog() : dev_(support::Mount::tmpfs("/dev", "1m")) { start(); }

    void start() {
        stop();
        socket_ = Fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        REQUIRE(sys::bind_path(socket_, "/dev/log"));
    }

    void stop() {
        socket_.reset();
        ::unlink("/dev/log");
    }

    // The next datagram; nothing if there is none.
    std::optional<std::string> next() {
        char buffer[4096];
        const ssize_t count = ::recv(socket_.number(), buffer, sizeof buffer, 0);
        if (count < 0) {
            return std::nullopt;
        }
        return std::string(buffer, static_cast<size_t>(count));
    }

  private:
    support::Mount dev_;
    Fd socket_;
};

Diag syslog_diag(Severity detail = Severity::trace) {
    Diag diag = diag_of({.detail = detail,
                         .program = "conmon",
                         .subject = "0123456789abcdef0123456789",
                         .to_syslog = true,
                         .zone = nullptr});
    diag.leave_standard_error();
    return diag;
}

// Without the time, which must be one.
std::string without_time(const std::string& datagram) {
    static const std::regex form("(<[0-9]+>)(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
                                 "([ 1-3][0-9]) ([0-2][0-9]:[0-5][0-9]:[0-6][0-9]) ([^]*)");
    std::smatch parts;
    REQUIRE(std::regex_match(datagram, parts, form));
    return parts[1].str() + parts[5].str();
}

} // namespace

TEST_CASE("the system log gets a datagram with priority, time, program, container and kind") {
    SystemLog log;
    Diag diag = syslog_diag();
    const base::Error error{.code = ENOENT, .call = "open"};
    diag.say(Severity::error, "a");
    diag.say(Severity::error, "b", error);
    diag.say(Severity::warning, "c");
    diag.say(Severity::warning, "d", error);
    diag.say(Severity::info, "e");
    diag.say(Severity::debug, "f");
    diag.say(Severity::trace, "g");
    const std::string start = "conmon: conmon 0123456789abcdef0123 ";
    for (const std::string& expected :
         {"<11>" + start + "<error>: a\n",
          "<11>" + start + "<error>: b: open: No such file or directory\n",
          "<14>" + start + "<nwarn>: c\n",
          "<14>" + start + "<pwarnf>: d: open: No such file or directory\n",
          "<14>" + start + "<ninfo>: e\n",
          "<14>" + start + "<ndebug>: f\n",
          "<14>" + start + "<ntrace>: g\n"}) {
        const auto datagram = log.next();
        REQUIRE(datagram);
        CHECK(without_time(*datagram) == expected);
    }
    CHECK_FALSE(log.next());
    CHECK(diag.syslog_fd().valid());
    CHECK(unit::closes_on_exec(diag.syslog_fd()));
}

TEST_CASE("the system log gets only what is asked for, and only if it is asked for") {
    SystemLog log;
    syslog_diag(Severity::error).warning("not said");
    CHECK_FALSE(log.next());
    Diag quiet;
    quiet.leave_standard_error();
    quiet.error("not said");
    CHECK_FALSE(log.next());
}

TEST_CASE("a short subject and a strange program name are used as they are") {
    SystemLog log;
    Diag diag = diag_of({.program = "monitor", .subject = "cid: tag", .to_syslog = true});
    diag.leave_standard_error();
    diag.error("x");
    const auto datagram = log.next();
    REQUIRE(datagram);
    CHECK(without_time(*datagram) == "<11>monitor: conmon cid: tag <error>: x\n");
}

TEST_CASE("a long message to the system log is cut and never lost") {
    SystemLog log;
    Diag diag = syslog_diag();
    diag.error(std::string(10'000, 'y'));
    const auto datagram = log.next();
    REQUIRE(datagram);
    CHECK(datagram->size() > 1000);
    CHECK(datagram->size() <= 1200);
}

TEST_CASE("a system log that is not there loses messages and nothing else") {
    SystemLog log;
    log.stop();
    const auto before = unit::open_descriptors();
    Diag diag = syslog_diag();
    for (int i = 0; i < 100; ++i) {
        diag.error("lost");
    }
    CHECK(unit::open_descriptors() == before);
    log.start();
    diag.error("heard");
    CHECK(log.next());
}

TEST_CASE("a restarted system log gets the next message") {
    SystemLog log;
    Diag diag = syslog_diag();
    diag.error("one");
    CHECK(log.next());
    const auto before = unit::open_descriptors();
    log.start();
    diag.error("two");
    const auto datagram = log.next();
    REQUIRE(datagram);
    CHECK(datagram->find("two") != std::string::npos);
    CHECK(unit::open_descriptors().size() == before.size());
    diag.disconnect();
    CHECK_FALSE(diag.syslog_fd().valid());
    diag.error("three");
    CHECK(log.next());
}

TEST_CASE("a system log that does not read never blocks us") {
    SystemLog log;
    Diag diag = syslog_diag();
    for (int i = 0; i < 20'000; ++i) {
        diag.error("flood");
    }
    size_t got = 0;
    while (log.next()) {
        ++got;
    }
    CHECK(got > 0);
    diag.error("after it");
    const auto datagram = log.next();
    REQUIRE(datagram);
    CHECK(datagram->find("after it") != std::string::npos);
}

TEST_CASE("whichever call of a message to the system log fails, nothing is left open") {
    SystemLog log;
    for (const std::string_view name : {"socket", "connect", "sendmsg"}) {
        for (const int code : {EMFILE, ENOENT, ECONNREFUSED, EPERM, ENOBUFS}) {
            const auto before = unit::open_descriptors();
            {
                const Faults faults([=](const shadow::Call& call) {
                    return shadow::Instead{.error = call.name == name ? code : 0};
                });
                Diag diag = syslog_diag();
                diag.error("x");
                CHECK(faults.fired());
                CHECK(faults.calls().size() < 20);
            }
            CHECK(unit::open_descriptors() == before);
        }
    }
}
