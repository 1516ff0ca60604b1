// What the kernel may say of a process that is or is not our child, and of one that somebody else
// has reaped, in any order: a status is given once, is the one that was said, and an unknown one is
// never a success.

#include "fuzz/input.h"
#include "sys/child.h"

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstring>

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using fuzz::must;
using sys::ExitStatus;

constexpr pid_t pid = 40'000'000; // above every pid that there can be

// What the kernel says next.
struct Answers {
    bool is_ours = false;
    bool has_ended = false;
    int code = 0;   // of siginfo
    int status = 0; // of siginfo
    short events = 0;
    bool knows_info = false;
    uint64_t mask = 0;
    int word = 0; // of the pidfd's information
} answers;

ExitStatus status_of_word(int word) {
    // As wait(2) has it.
    if ((word & 0x7f) == 0) {
        return {ExitStatus::Kind::exited, word >> 8 & 0xff};
    }
    if (static_cast<signed char>((word & 0x7f) + 1) >> 1 > 0) {
        return {ExitStatus::Kind::signalled, word & 0x7f};
    }
    return {};
}

ExitStatus status_of_answers() {
    if (answers.is_ours) {
        if (answers.code == CLD_EXITED) {
            return {ExitStatus::Kind::exited, answers.status};
        }
        if (answers.code == CLD_KILLED || answers.code == CLD_DUMPED) {
            return {ExitStatus::Kind::signalled, answers.status};
        }
        return {};
    }
    const bool is_told = answers.knows_info && (answers.mask & 8U) != 0;
    return is_told ? status_of_word(answers.word) : ExitStatus{};
}

bool equal(const ExitStatus& one, const ExitStatus& other) {
    return one.kind == other.kind && one.value == other.value;
}

} // namespace

// In place of the C library's.
extern "C" int waitid(idtype_t, id_t, siginfo_t* info, int) {
    if (!answers.is_ours) {
        errno = ECHILD;
        return -1;
    }
    std::memset(info, 0, sizeof *info);
    if (answers.has_ended) {
        info->si_pid = pid;
        info->si_code = answers.code;
        info->si_status = answers.status;
    }
    return 0;
}

extern "C" int poll(pollfd* fds, nfds_t, int) {
    fds->revents = answers.events;
    return answers.events != 0 ? 1 : 0;
}

extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
    va_list arguments;
    va_start(arguments, request);
    void* const place = va_arg(arguments, void*);
    va_end(arguments);
    if (fd != 0) {
        return static_cast<int>(::syscall(SYS_ioctl, fd, request, place));
    }
    if (!answers.knows_info) {
        errno = ENOTTY;
        return -1;
    }
    std::memcpy(place, &answers.mask, sizeof answers.mask);
    std::memcpy(static_cast<char*>(place) + 60, &answers.word, sizeof answers.word);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input{data, size};
    sys::Child child{pid, {}};
    while (!input.empty()) {
        const uint8_t choice = input.byte();
        answers.is_ours = (choice & 1U) != 0;
        answers.has_ended = (choice & 2U) != 0;
        answers.knows_info = (choice & 4U) != 0;
        answers.code = input.byte() % 8;
        answers.status = input.byte();
        answers.events = static_cast<short>(((choice & 8U) != 0 ? POLLIN : 0) |
                                            ((choice & 0x10U) != 0 ? POLLHUP : 0));
        answers.mask = input.byte();
        answers.word = static_cast<int>(input.number()) | ((choice & 0x80U) != 0 ? -65536 : 0);
        const bool has_pidfd = (choice & 0x20U) != 0;
        const auto patience =
            (choice & 0x40U) != 0 ? sys::Child::Patience::ends : sys::Child::Patience::waits;
        must(child.is_ours() == answers.is_ours);
        const auto status = child.reap(has_pidfd ? sys::FdRef{0} : sys::FdRef{}, patience);
        const ExitStatus said = status_of_answers();
        if (answers.is_ours) {
            must(status.has_value() == answers.has_ended && (!status || equal(*status, said)));
        } else if (!has_pidfd) {
            must(status && status->kind == ExitStatus::Kind::unknown); // there is no such pid
        } else if (status) {
            must(answers.events != 0 && equal(*status, said));
            must(said.kind != ExitStatus::Kind::unknown || (answers.events & POLLHUP) != 0 ||
                 patience == sys::Child::Patience::ends);
        }
        if (!status) {
            must(child.known());
            continue;
        }
        must(status->code() >= -1 && (status->kind != ExitStatus::Kind::unknown ||
                                      (status->code() == -1 && !status->succeeded())));
        must(!child.known() && !child.kill(0));
        const auto again = child.reap({});
        must(again && again->kind == ExitStatus::Kind::unknown);
        break;
    }
    return 0;
}
