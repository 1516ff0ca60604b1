// Upgrade: another program takes the place of this one under the same pid, while the container
// runs. SIGUSR2 asks for it.
//
//     the old program                            the program that is installed now
//     state --> sealed memfd
//     asks: "conmon --version ARGUMENTS..."      reads options and state, on trial, and exits with
//            standard input: the state           can_read_state
//     executes "conmon ARGUMENTS..."             reads both again, and goes on
//            standard input: the state
//
// The program is looked for at the path that this one was executed by. The arguments and the
// environment are the ones we have, as callers see them in /proc; where a conmon, or a mote that
// does not know this, is installed, the question is one for its version. Until the last step
// anything that goes wrong is a warning, and the old program goes on.
//
// A program knows that there is a state by what only we leave: SIGUSR2 blocked from the beginning,
// and a memfd with all seals as standard input. Whoever starts us with a state of their own gets a
// monitor that does what it says with their own rights, and no more (SECURITY.md).
#pragma once

#include "monitor/monitor.h"

namespace monitor {

// The exit status of a program that was asked and can go on; no other program means this by it.
constexpr int can_read_state = 86;

// Whether this process was started to go on with a container, or asked if it can, and not to begin
// with one of its own.
[[nodiscard]] bool has_state(const Origin& origin);

} // namespace monitor
