// Epilogue: everything that happens after the container's end, in this order and nowhere else
// (contract.md 5.6, with the differences at its top).
//
//     1. the memory counters are looked at once more
//     2. what the streams hold is recorded and offered; the log is complete
//     3. attach clients are closed; those that are owed something go to a lingerer
//     4. what the caller lent us is closed: its ports are free
//     5. the account, if it is asked for
//     6. the exit files: in the persist directory, then in the exit directory
//     7. exec: the exit status on the sync pipe
//     8. the attach socket and link are removed
//     9. the log is on the disk, unless --no-sync-log
//    10. every descriptor is closed: the caller sees the end of the sync pipe
//    11. the exit command, after its delay, is run and waited for
//    12. the end
#pragma once

#include "monitor/monitor.h"

#include <span>

namespace monitor {

// Ends the process, with the container's exit status or 1 after a failure. `exit_argv` is empty
// when there is no exit command.
[[noreturn]] void end(Monitor& monitor,
                      const cli::Options& options,
                      const Outcome& outcome,
                      Origin& origin,
                      std::span<const char*> exit_argv,
                      record::Recorder& recorder,
                      Parent& parent,
                      sys::Diag& diag);

} // namespace monitor
