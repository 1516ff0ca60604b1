// Terminals, on a real pty.

#include "shadow/faults.h"
#include "sys/tty.h"
#include "unit/sys/ours.h"

#include <string>

#include <sys/ioctl.h>
#include <termios.h>

using shadow::Faults;
using sys::Fd;

namespace {

struct Pty {
    Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    Fd slave;

    Pty() {
        REQUIRE(master.valid());
        REQUIRE(::grantpt(master.number()) == 0);
        REQUIRE(::unlockpt(master.number()) == 0);
        slave = Fd{::open(::ptsname(master.number()), O_RDWR | O_NOCTTY | O_CLOEXEC)};
        REQUIRE(slave.valid());
    }

    std::string output_of(std::string_view text) const {
        REQUIRE(::write(slave.number(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
        char buffer[100];
        const ssize_t count = ::read(master.number(), buffer, sizeof buffer);
        REQUIRE(count > 0);
        return {buffer, static_cast<size_t>(count)};
    }
};

} // namespace

TEST_CASE("newlines are translated in output once it is switched on, and nothing else changes") {
    const Pty pty;
    termios raw{};
    REQUIRE(::tcgetattr(pty.slave.number(), &raw) == 0);
    raw.c_oflag &= ~static_cast<tcflag_t>(ONLCR);
    REQUIRE(::tcsetattr(pty.slave.number(), TCSANOW, &raw) == 0);
    CHECK(pty.output_of("a\nb") == "a\nb");
    REQUIRE(sys::translate_newlines(pty.master));
    CHECK(pty.output_of("a\nb") == "a\r\nb");
    termios now{};
    REQUIRE(::tcgetattr(pty.slave.number(), &now) == 0);
    CHECK(now.c_oflag == (raw.c_oflag | ONLCR));
    CHECK(now.c_lflag == raw.c_lflag);
    CHECK(now.c_iflag == raw.c_iflag);
}

TEST_CASE("the terminal gets the rows and columns that it was given") {
    const Pty pty;
    for (const sys::WindowSize size : {sys::WindowSize{24, 80},
                                       sys::WindowSize{0, 0},
                                       sys::WindowSize{1000, 1},
                                       sys::WindowSize{40, 120}}) {
        REQUIRE(sys::set_window_size(pty.master, size));
        winsize now{};
        REQUIRE(::ioctl(pty.slave.number(), TIOCGWINSZ, &now) == 0);
        CHECK(now.ws_row == size.rows);
        CHECK(now.ws_col == size.columns);
    }
}

TEST_CASE("what is no terminal is refused with ENOTTY and the step") {
    const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    const auto set = sys::translate_newlines(null);
    REQUIRE_FALSE(set);
    CHECK(set.error().code == ENOTTY);
    CHECK(set.error().call == "get terminal settings");
    const auto sized = sys::set_window_size(null, {1, 1});
    REQUIRE_FALSE(sized);
    CHECK(sized.error().code == ENOTTY);
    CHECK(sized.error().call == "set window size");
    const Pty pty;
    const Faults faults("tcsetattr", 1, EIO);
    const auto refused = sys::translate_newlines(pty.master);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EIO);
    CHECK(refused.error().call == "set terminal settings");
}
