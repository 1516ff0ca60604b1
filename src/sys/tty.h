// Terminals: the two things that we do to a pty master.
#pragma once

#include "sys/fd.h"

namespace sys {

struct WindowSize {
    uint16_t rows;
    uint16_t columns;
};

// Switches on the translation of LF to CR LF in output, which the runtime leaves off.
base::Result<void> translate_newlines(FdRef terminal);

base::Result<void> set_window_size(FdRef terminal, WindowSize size);

} // namespace sys
