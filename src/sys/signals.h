// Signals are blocked before anything else and read from a descriptor; there are no handlers.
#pragma once

#include "sys/clock.h"
#include "sys/fd.h"

#include <optional>

#include <signal.h>

namespace sys {

// Blocks every signal that can be blocked, except those that report a fault of our own
// (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT), and those that stop or continue a job.
// SIGPIPE is ignored, which children inherit, as conmon's do. Returns the mask that was in force.
sigset_t block_signals();

// What block_signals blocks.
sigset_t blocked_signals();

// Puts a mask in force; for a child, the one that we were started with.
void set_signal_mask(const sigset_t& mask);

// A descriptor for all signals that block_signals blocks.
base::Result<Fd> open_signal_fd();

// The number of the next pending signal; nothing if there is none.
std::optional<int> next_signal(FdRef signal_fd);

// Waits, without a descriptor, until a child has ended or `deadline` has come (false). All other
// signals stay pending and do nothing.
bool await_child(Instant deadline);

// Lets `signal`, which we took from the descriptor, have the effect that it has with the mask
// `original`: most end the process here.
void let_through(int signal, const sigset_t& original);

} // namespace sys
