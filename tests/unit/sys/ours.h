// What the tests of system edges look at in their own process: its open descriptors, and what
// happens to a copy of it, for whatever would spoil the rest of the tests (masks, closed
// descriptors, namespaces).
#pragma once

#include "support/handle.h"
#include "sys/fd.h"

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace unit {

inline std::set<int> open_descriptors() {
    std::set<int> numbers;
    DIR* const directory = ::opendir("/proc/self/fd");
    REQUIRE(directory != nullptr);
    while (const dirent* entry = ::readdir(directory)) {
        const int number = std::atoi(entry->d_name);
        if (entry->d_name[0] != '.' && number != ::dirfd(directory)) {
            numbers.insert(number);
        }
    }
    ::closedir(directory);
    return numbers;
}

inline bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

inline bool closes_on_exec(sys::FdRef fd) {
    return (::fcntl(fd.number(), F_GETFD) & FD_CLOEXEC) != 0;
}

inline bool is_nonblocking(sys::FdRef fd) {
    return (::fcntl(fd.number(), F_GETFL) & O_NONBLOCK) != 0;
}

// Runs `act` in a forked copy of this process and gives what it returned: words for what was wrong,
// or nothing. The copy is killed when it takes too long.
inline std::string in_copy(const std::function<std::string()>& act) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        // High up, where tests of low numbers do not meet it.
        const int report = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 900);
        ::close(ends[0]);
        ::close(ends[1]);
        std::string words;
        try {
            words = act();
        } catch (const std::exception& thrown) {
            words = thrown.what();
        } catch (...) {
            words = "a requirement was not met"; // of Catch's, which must not reach its runner
        }
        words += '.';
        (void)!::write(report, words.data(), words.size());
        ::_exit(0);
    }
    ::close(ends[1]);
    const support::Handle from(ends[0]);
    std::string words;
    char buffer[4096];
    const support::Deadline deadline(support::soon);
    while (support::wait_readable(from.get(), deadline)) {
        const ssize_t count = ::read(from.get(), buffer, sizeof buffer);
        if (count <= 0) {
            break;
        }
        words.append(buffer, static_cast<size_t>(count));
    }
    const bool late = deadline.passed();
    if (late) {
        ::kill(pid, SIGKILL);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (late) {
        return "took too long";
    }
    if (WIFSIGNALED(status)) {
        return "was killed by signal " + std::to_string(WTERMSIG(status));
    }
    if (words.empty() || words.back() != '.') {
        return "ended early, with status " + std::to_string(WEXITSTATUS(status));
    }
    words.pop_back();
    return words;
}

} // namespace unit
