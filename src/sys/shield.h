// Shield: work that a SIGKILL of this process does not break off. The kernel ends a write(2)
// between two pages of the file when the process that makes it is killed, and what was a whole
// record is half of one on the disk. So the work is done by a new process that has our memory, our
// descriptors and a stack of its own below ours, while we wait for its end (clone(2) with CLONE_VM,
// CLONE_FILES and CLONE_FS). Whoever kills us kills one that waits. Who kills all processes of the
// cgroup, or runs out of memory, still breaks the work off.
//
// The work must not ask who it is: it has another pid, no children, and none of our pending
// signals, so a signalfd seems to be empty to it, and what epoll knew of one is forgotten.
#pragma once

#include "sys/fd.h"

namespace sys {

class Shield {
  public:
    using Work = void (*)(void* argument);

    // Does `work(argument)`, once: shielded, or as it is where that is refused or we are shielded
    // already. Costs about 40 us.
    void run(Work work, void* argument);

    // The same for work that may last: it is to end when is_over() says so, which it does once we
    // have a signal, which `signals` tells, or have been killed.
    void run_long(Work work, void* argument, FdRef signals);

    [[nodiscard]] bool is_over() const;

  private:
    enum class State : uint8_t { untried, usable, useless, in_use };

    bool attempt(Work work, void* argument, FdRef signals);

    State state_ = State::untried;
    volatile bool is_called_ = false;
    pid_t owner_ = 0; // who waits for the end
};

} // namespace sys
