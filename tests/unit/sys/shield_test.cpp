// The shield: the work is done once in our memory whatever clone(2) does, and our death does not
// break it off.

#include "shadow/faults.h"
#include "support/files.h"
#include "sys/calls.h"
#include "sys/shield.h"
#include "sys/signals.h"
#include "unit/sys/ours.h"

#include <csignal>
#include <functional>

#include <sys/wait.h>
#include <unistd.h>

using shadow::Call;
using shadow::Faults;
using shadow::Instead;
using support::TempDir;
using sys::Fd;

namespace {

struct Job {
    sys::Shield* shield = nullptr;
    int times = 0;
    pid_t pid = 0;
    bool nests = false;

    void run() {
        shield->run(
            [](void* place) {
                Job& job = *static_cast<Job*>(place);
                ++job.times;
                job.pid = static_cast<pid_t>(::syscall(SYS_getpid));
                if (std::exchange(job.nests, false)) {
                    const pid_t outer = job.pid;
                    job.run();
                    job.nests = job.pid == outer;
                }
            },
            this);
    }
};

bool is_child_left() {
    return ::waitpid(-1, nullptr, WNOHANG | __WALL) != -1 || errno != ECHILD;
}

} // namespace

TEST_CASE("shielded work is done once, in our memory, by another process that is gone then") {
    sys::Shield shield;
    Job job{.shield = &shield};
    job.run();
    CHECK(job.times == 1);
    CHECK(job.pid != ::getpid());
    job.run();
    CHECK(job.times == 2);
    CHECK_FALSE(is_child_left());
}

TEST_CASE("shielded work that needs a shield has one already") {
    sys::Shield shield;
    Job job{.shield = &shield, .nests = true};
    job.run();
    CHECK(job.times == 2);
    CHECK(job.nests); // by the same process
}

TEST_CASE("long shielded work is over once we have a signal, also after shorter work in it") {
    const sigset_t before = sys::block_signals();
    const Fd signals = *sys::open_signal_fd();
    struct Long {
        sys::Shield shield;
        pid_t parent = ::getpid();
        bool is_early = false;
        bool is_over = false;
    } work;
    work.shield.run_long(
        [](void* place) {
            Long& work = *static_cast<Long*>(place);
            work.is_early = work.shield.is_over();
            ::kill(work.parent, SIGHUP);
            for (int tries = 0; tries < 2000 && !work.is_over; ++tries) {
                ::usleep(1000);
                work.shield.run([](void*) {}, nullptr);
                work.is_over = work.shield.is_over();
            }
        },
        &work,
        signals);
    CHECK_FALSE(work.is_early);
    CHECK(work.is_over);
    bool has_hup = false;
    while (const auto signal = sys::next_signal(signals)) {
        has_hup = has_hup || *signal == SIGHUP;
    }
    CHECK(has_hup);
    sys::set_signal_mask(before);
    CHECK_FALSE(is_child_left());
}

TEST_CASE("without a new process the work is done by ourselves, and the next time shielded") {
    sys::Shield shield;
    Job job{.shield = &shield};
    {
        const Faults faults(
            [](const Call& call) { return Instead{.error = call.name == "clone" ? EAGAIN : 0}; });
        job.run();
    }
    CHECK(job.times == 1);
    CHECK(job.pid == ::getpid());
    job.run();
    CHECK(job.times == 2);
    CHECK(job.pid != ::getpid());
    {
        const Faults faults("clone", 1, EAGAIN);
        job.run();
    }
    CHECK(job.times == 3);
    CHECK(job.pid == ::getpid());
}

TEST_CASE("where memory is copied and not shared, the work is done by ourselves for ever") {
    sys::Shield shield;
    Job job{.shield = &shield};
    const Faults faults(
        [](const Call& call) { return Instead{.error = call.name == "CLONE_VM" ? EINVAL : 0}; });
    for (int n = 1; n <= 3; ++n) {
        job.run();
        CHECK(job.times == n);
        CHECK(job.pid == ::getpid());
    }
    CHECK(faults.count("clone") == 1);
    CHECK_FALSE(is_child_left());
}

TEST_CASE("the work goes on when we are killed in it") {
    const TempDir directory;
    const std::string begun = directory / "begun";
    const std::string done = directory / "done";
    const pid_t pid = ::fork();
    if (pid == 0) {
        sys::Shield shield;
        std::pair files{begun.c_str(), done.c_str()};
        shield.run(
            [](void* place) {
                const auto& names = *static_cast<decltype(files)*>(place);
                (void)::creat(names.first, 0600);
                ::usleep(200'000);
                (void)::creat(names.second, 0600);
            },
            &files);
        ::_exit(0);
    }
    const auto appears = [](const std::string& path) {
        for (int tries = 0; tries < 2000 && ::access(path.c_str(), F_OK) != 0; ++tries) {
            ::usleep(5000);
        }
        return ::access(path.c_str(), F_OK) == 0;
    };
    CHECK(appears(begun));
    ::kill(pid, SIGKILL);
    int status = 0;
    CHECK(::waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status));
    CHECK(::access(done.c_str(), F_OK) != 0);
    CHECK(appears(done));
}
