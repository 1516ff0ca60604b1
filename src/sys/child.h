// Processes that we start or wait for. A pid is usable only through Child, which empties it in the
// same step in which the process is reaped, so that a recycled pid is never signalled.
#pragma once

#include "sys/fd.h"

#include <optional>

#include <signal.h>
#include <sys/types.h>

namespace sys {

// How a process ended. Nobody can always tell; that is a state of its own, and never 0.
struct ExitStatus {
    enum class Kind : uint8_t { unknown, exited, signalled };

    Kind kind = Kind::unknown;
    int value = 0; // exit code or signal number

    // As callers are told: the exit code, 128 + signal, or -1.
    [[nodiscard]] int code() const;
    [[nodiscard]] bool succeeded() const { return kind == Kind::exited && value == 0; }
};

class Child {
  public:
    Child() = default;

    // A process that is known by its pid; a pidfd is opened where the kernel has them (Linux 5.3).
    // The pid must not have been reaped by anybody.
    static Child of_pid(pid_t pid);

    // A process with the pidfd that its making gave; the pidfd may be invalid.
    Child(pid_t pid, Fd pidfd) : pid_{pid}, pidfd_{std::move(pidfd)} {}

    [[nodiscard]] bool known() const { return pid_ > 0; }

    // See sys/archive.h. The pidfd is where take_pidfd() has brought it.
    void carry(auto& archive) { archive.carry(pid_); }
    [[nodiscard]] pid_t pid() const { return pid_; }

    // The pidfd, to be watched; invalid where there is none. The caller owns it from then on.
    [[nodiscard]] Fd take_pidfd() { return std::move(pidfd_); }

    // Whether it is our child, ended or not, so that its end shows as SIGCHLD.
    [[nodiscard]] bool is_ours() const;

    // Sends a signal, unless the process has been reaped or was never known: then ESRCH.
    base::Result<void> kill(int signal) const;

    // Whether the status of a process that is not our child is to be waited for any longer.
    enum class Patience : uint8_t { waits, ends };

    // Reaps the process if it has ended. Nothing: it still runs, or it has ended and its own parent
    // has not reaped it yet, before which nobody can tell its status; the pidfd shows that as
    // hang-up. A process that is not our child and is gone gives `unknown`, or what `pidfd` can
    // tell (PIDFD_GET_INFO, Linux 6.15).
    std::optional<ExitStatus> reap(FdRef pidfd, Patience patience = Patience::waits);

  private:
    pid_t pid_ = 0;
    Fd pidfd_;
};

// Everything that a new process needs, prepared before it is made: between fork and exec nothing
// is computed. What is not named is inherited: descriptors without close-on-exec, the working
// directory, the umask, ignored signals.
struct SpawnPlan {
    const char* path;
    const char* const* arguments;
    char** environment; // one entry may be exchanged, see listen_pid

    FdRef standard_input;  // put at 0; invalid: left alone
    FdRef standard_output; // put at 1
    FdRef standard_error;  // put at 2
    const sigset_t* signal_mask;
    bool dies_with_parent = false;         // PR_SET_PDEATHSIG, SIGKILL
    std::string_view oom_score_adjustment; // written for the new process; empty: left alone
    std::optional<size_t>
        listen_pid_index; // the entry of `environment` to set to LISTEN_PID=<its pid>
};

// Starts a process. An error names the step that failed in it; a failed start leaves nothing
// behind.
base::Result<Child> spawn(const SpawnPlan& plan);

// Sets the oom_score_adj of this process; empty: leaves it alone. Not being permitted is no error.
void set_oom_score_adjustment(std::string_view value);

// Reaps ended children until none is left, or `spared` (0: none) is next: then true, and those that
// ended after it are left for a later call.
bool reap_others(pid_t spared);

// Waits until our child `pid` has ended, and reaps it and all that end before it.
void wait_for(pid_t pid);

// Makes orphaned descendants ours, or lets go of that. Failures are ignored: the kernel has it
// since 3.4.
void set_subreaper(bool on);

} // namespace sys
