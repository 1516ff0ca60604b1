#include "sys/tty.h"

#include "sys/calls.h"

#include <cerrno>

namespace sys {

using base::fail;
using base::Result;

Result<void> translate_newlines(FdRef terminal) {
    termios settings{};
    if (sys::tcgetattr(terminal.number(), &settings) != 0) {
        return fail(errno, "get terminal settings");
    }
    settings.c_oflag |= ONLCR;
    if (sys::tcsetattr(terminal.number(), TCSANOW, &settings) != 0) {
        return fail(errno, "set terminal settings");
    }
    return {};
}

Result<void> set_window_size(FdRef terminal, WindowSize size) {
    winsize raw{};
    raw.ws_row = size.rows;
    raw.ws_col = size.columns;
    if (sys::ioctl(terminal.number(), TIOCSWINSZ, &raw) != 0) {
        return fail(errno, "set window size");
    }
    return {};
}

} // namespace sys
