#include "monitor/upgrade.h"

#include "sys/calls.h"
#include "sys/signals.h"

#include <cerrno>

#include <sys/auxv.h>

namespace monitor {

using sys::Archive;
using sys::Child;
using sys::ExitStatus;
using sys::Fd;
using sys::FdRef;
using sys::Instant;

namespace {

// A program that has not answered by then never will.
constexpr Instant answer_max_ms = 2000;

// The exit status of what could not even be executed, less its errno.
constexpr int not_executed = 100;

constexpr int all_seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

} // namespace

// ------------------------------------------------------------------------------- the old program

void Monitor::upgrade() {
    if (!runtime_started_ && options_.drivers.passthrough) {
        return; // not yet: the standard streams are still the caller's
    }
    upgrade_wanted_ = false;
    if (phase_ > Phase::running) {
        return;
    }
    const auto* const program = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
    base::Step step = "save state";
    if (put_state_aside()) {
        step = "ask program";
        if (ask(program)) {
            step = "execute program";
            if (carry_as(Archive::Task::expose, {})) {
                (void)sys::execve(program, origin_.arguments, origin_.environment);
            }
        }
    }
    // It is not to be: we go on.
    const int code = errno;
    (void)carry_as(Archive::Task::hide, {});
    (void)sys::put_null_at_stdio();
    diag_.warning("Failed to upgrade", {.code = code, .call = step});
    on_child_signal(sys::monotonic_ms()); // waiting for the answer has taken SIGCHLD away
}

bool Monitor::carry_as(Archive::Task task, FdRef record) {
    Archive archive{task, record, poller_};
    archive.begin();
    carry(archive);
    return archive.is_good();
}

// Makes the state the standard input of the programs that we execute.
bool Monitor::put_state_aside() {
    const Fd memory{sys::memfd_create("conmon-state", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    return memory.valid() && carry_as(Archive::Task::save, memory) &&
           sys::fcntl(memory.number(), F_ADD_SEALS, all_seals) == 0 &&
           sys::dup2(memory.number(), STDIN_FILENO) == STDIN_FILENO;
}

bool Monitor::ask(const char* program) {
    constexpr size_t words_max = cli::Options::list_values_max;
    const char* words[words_max];
    size_t count = 1;
    words[0] = origin_.arguments[0];
    words[1] = "--version";
    do {
        if (count == words_max - 1) {
            errno = E2BIG;
            return false;
        }
        words[count + 1] = origin_.arguments[count];
    } while (words[++count] != nullptr);
    const pid_t pid = sys::fork();
    if (pid == 0) {
        (void)sys::prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)sys::execve(program, const_cast<char* const*>(words), origin_.environment);
        ::_exit(not_executed + errno);
    }
    Child asked{pid, {}};
    const Instant deadline = sys::monotonic_ms() + answer_max_ms;
    std::optional<ExitStatus> status;
    while (!(status = asked.reap({}))) {
        if (!sys::await_child(deadline)) {
            (void)asked.kill(SIGKILL); // and reaped as others are
            errno = ETIMEDOUT;
            return false;
        }
    }
    errno = status->value > not_executed ? status->value - not_executed : EPROTO;
    return status->value == can_read_state; // no signal has this number
}

// ------------------------------------------------------------------------------- the new program

bool has_state(const Origin& origin) {
    if (sigismember(&origin.signal_mask, SIGUSR2) != 1) {
        return false; // as nearly always, without a system call
    }
    const int seals = sys::fcntl(STDIN_FILENO, F_GET_SEALS);
    return seals >= 0 && (seals & all_seals) == all_seals &&
           Archive::begins_record(FdRef{STDIN_FILENO});
}

bool Monitor::take_over(Fd signal_fd, bool is_on_trial) {
    const bool is_taken =
        watch_signals(std::move(signal_fd)) &&
        carry_as(is_on_trial ? Archive::Task::read : Archive::Task::adopt, FdRef{STDIN_FILENO});
    ++counters_.upgrades;
    return is_taken;
}

} // namespace monitor
