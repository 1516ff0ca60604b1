// Shield: work that a SIGKILL of this process does not break off. The kernel ends a write(2)
// between two pages of the file when the process that makes it is killed, and what was a whole
// record is half of one on the disk. So the work is done by a new process that has our memory, our
// descriptors and a stack of its own in ours, while we wait for its end (clone(2) with CLONE_VM,
// CLONE_FILES, CLONE_FS and CLONE_VFORK). Whoever kills us kills one that waits. Who kills all
// processes of the cgroup, or runs out of memory, still breaks the work off.
#pragma once

#include <cstdint>

namespace sys {

class Shield {
  public:
    // Does `work(argument)`, once: shielded, or as it is where that is refused or we are shielded
    // already. Costs about 40 us. The work must not ask who it is: it has another pid, no
    // children, and none of our pending signals, so a signalfd seems to be empty to it.
    void run(void (*work)(void*), void* argument);

  private:
    enum class State : uint8_t { untried, usable, useless, in_use };

    bool attempt(void (*work)(void*), void* argument);

    State state_ = State::untried;
};

} // namespace sys
