// Processes: what a start hands on, what a failed start tells, and who may be reaped.

#include "shadow/faults.h"
#include "support/files.h"
#include "sys/child.h"
#include "sys/io.h"
#include "sys/signals.h"
#include "unit/sys/ours.h"

#include <fstream>
#include <optional>
#include <vector>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>

using shadow::Call;
using shadow::Faults;
using shadow::Instead;
using sys::Child;
using sys::ExitStatus;
using sys::Fd;
using sys::FdRef;
using sys::SpawnPlan;
using Kind = ExitStatus::Kind;

namespace {

// Ends the process when the test forgets to.
struct Forked {
    pid_t pid = 0;

    explicit Forked(const std::function<void()>& act) : pid{::fork()} {
        if (pid == 0) {
            try {
                act();
            } catch (...) {
                ::_exit(99);
            }
            ::_exit(0);
        }
    }
    Forked(const Forked&) = delete;
    Forked& operator=(const Forked&) = delete;
    ~Forked() {
        if (::waitpid(pid, nullptr, WNOHANG) == 0) {
            ::kill(pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
    }
};

[[noreturn]] void sleep_for_ever() {
    for (;;) {
        ::pause();
    }
}

// Waits until our child has ended, without reaping it.
void await_end(pid_t pid) {
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
}

// Whether the process exists and has not been reaped.
bool exists(pid_t pid) {
    return ::kill(pid, 0) == 0;
}

bool is(const std::optional<ExitStatus>& status, Kind kind, int value) {
    return status && status->kind == kind && status->value == value;
}

// A start of `sh -c SCRIPT`, with what a plan must have.
struct Start {
    std::string script;
    std::vector<const char*> arguments;
    std::vector<char*> environment{nullptr};
    sigset_t mask{};
    SpawnPlan plan;

    explicit Start(std::string text)
        : script{std::move(text)}, arguments{"sh", "-c", script.c_str(), nullptr}, plan{} {
        ::sigemptyset(&mask);
        plan.path = "/bin/sh";
        plan.arguments = arguments.data();
        plan.environment = environment.data();
        plan.signal_mask = &mask;
    }
};

ExitStatus wait_and_reap(Child& child) {
    await_end(child.pid());
    const auto status = child.reap(FdRef{});
    REQUIRE(status);
    return *status;
}

// What the script writes to its standard output.
std::string output_of(Start& start) {
    sys::Pipe pipe = *sys::make_pipe(0);
    start.plan.standard_output = pipe.write_end;
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    pipe.write_end.reset();
    std::string text;
    char buffer[1024];
    for (ssize_t count = 0; (count = ::read(pipe.read_end.number(), buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<size_t>(count));
    }
    (void)wait_and_reap(*child);
    return text;
}

} // namespace

TEST_CASE("an exit status is told as callers know it") {
    CHECK(ExitStatus{Kind::exited, 0}.code() == 0);
    CHECK(ExitStatus{Kind::exited, 255}.code() == 255);
    CHECK(ExitStatus{Kind::signalled, 9}.code() == 137);
    CHECK(ExitStatus{}.code() == -1);
    CHECK(ExitStatus{Kind::exited, 0}.succeeded());
    CHECK_FALSE(ExitStatus{Kind::exited, 1}.succeeded());
    CHECK_FALSE(ExitStatus{Kind::signalled, 0}.succeeded());
    CHECK_FALSE(ExitStatus{}.succeeded());
}

TEST_CASE("a started process is known, has a pidfd, and its status comes once") {
    const auto before = unit::open_descriptors();
    for (const int code : {0, 1, 7, 126, 127, 128, 137, 255}) {
        Start start("exit " + std::to_string(code));
        auto child = sys::spawn(start.plan);
        REQUIRE(child);
        CHECK(child->known());
        const Fd pidfd = child->take_pidfd();
        CHECK(pidfd.valid());
        CHECK(unit::closes_on_exec(pidfd));
        CHECK(child->is_ours());
        pollfd ended{.fd = pidfd.number(), .events = POLLIN, .revents = 0};
        REQUIRE(::poll(&ended, 1, 10'000) == 1);
        const pid_t pid = child->pid();
        CHECK(child->is_ours()); // ended, not reaped
        CHECK(is(child->reap(pidfd), Kind::exited, code));
        CHECK_FALSE(child->known());
        CHECK_FALSE(child->is_ours());
        CHECK_FALSE(exists(pid));
        CHECK(is(child->reap(pidfd), Kind::unknown, 0));
    }
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("a process that a signal ended says so") {
    Start start("kill -9 $$");
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    const ExitStatus status = wait_and_reap(*child);
    CHECK(status.kind == Kind::signalled);
    CHECK(status.value == SIGKILL);
}

TEST_CASE("a process that runs is not reaped, and can be signalled until it has been") {
    Start start("exec sleep 100");
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    CHECK_FALSE(child->reap(FdRef{}));
    CHECK(child->known());
    REQUIRE(child->kill(SIGTERM));
    CHECK(is(wait_and_reap(*child), Kind::signalled, SIGTERM));
    // A neighbour could have the pid by now: no signal leaves.
    const Faults faults;
    const auto killed = child->kill(SIGTERM);
    REQUIRE_FALSE(killed);
    CHECK(killed.error().code == ESRCH);
    CHECK(faults.count("kill") == 0);
}

TEST_CASE("an unknown child is nobody's: not reaped, not signalled, its status unknown") {
    for (const pid_t pid : {0, -1, -100}) {
        Child child = Child::of_pid(pid);
        CHECK_FALSE(child.known());
        CHECK_FALSE(child.is_ours());
        CHECK_FALSE(child.kill(SIGKILL));
        CHECK(is(child.reap(FdRef{}), Kind::unknown, 0));
    }
}

TEST_CASE("a child by pid that has ended already still gives its status") {
    const Forked forked([] { ::_exit(9); });
    await_end(forked.pid);
    Child child = Child::of_pid(forked.pid);
    const Fd pidfd = child.take_pidfd();
    CHECK(pidfd.valid());
    CHECK(is(child.reap(pidfd), Kind::exited, 9));
}

TEST_CASE("a stopped child has not ended") {
    const Forked forked([] { sleep_for_ever(); });
    Child child = Child::of_pid(forked.pid);
    const Fd pidfd = child.take_pidfd();
    ::kill(forked.pid, SIGSTOP);
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(forked.pid), &info, WSTOPPED | WNOWAIT) == 0);
    CHECK_FALSE(child.reap(pidfd));
    CHECK_FALSE(sys::reap_others(0));
    CHECK(child.known());
}

TEST_CASE("without pidfds children are reaped all the same") {
    const Faults faults("pidfd_open", 1, ENOSYS);
    const Forked forked([] { ::_exit(3); });
    Child child = Child::of_pid(forked.pid);
    CHECK(child.known());
    const Fd pidfd = child.take_pidfd();
    CHECK_FALSE(pidfd.valid());
    await_end(forked.pid);
    CHECK(is(child.reap(pidfd), Kind::exited, 3));
}

TEST_CASE(
    "a kernel that does not know CLONE_PIDFD gives a child without pidfd, and none to close") {
    const auto before = unit::open_descriptors();
    const Faults faults("CLONE_PIDFD", 1, EINVAL);
    Start start("exit 4");
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    CHECK_FALSE(child->take_pidfd().valid());
    CHECK(is(wait_and_reap(*child), Kind::exited, 4));
    CHECK(unit::open_descriptors() == before);
}

namespace {

// A process that is not our child: a grandchild whose parent lives, and reaps it on command.
struct Foreign {
    sys::Pipe ready_pipe = *sys::make_pipe(0);
    sys::Pipe pid_pipe = *sys::make_pipe(0);
    sys::Pipe reap_pipe = *sys::make_pipe(0);
    pid_t pid = 0;
    std::optional<Forked> parent;

    explicit Foreign(int code) {
        parent.emplace([&] {
            reap_pipe.write_end.reset();
            const pid_t grandchild = ::fork();
            if (grandchild == 0) {
                ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                sigset_t set;
                ::sigemptyset(&set);
                ::sigaddset(&set, SIGUSR1);
                ::sigprocmask(SIG_BLOCK, &set, nullptr);
                (void)!::write(ready_pipe.write_end.number(), "x", 1); // for the signal
                int signal = 0;
                ::sigwait(&set, &signal);
                ::_exit(code);
            }
            char ready = 0;
            (void)!::read(ready_pipe.read_end.number(), &ready, 1);
            (void)!::write(pid_pipe.write_end.number(), &grandchild, sizeof grandchild);
            char word = 0;
            (void)!::read(reap_pipe.read_end.number(), &word, 1);
            ::waitpid(grandchild, nullptr, 0);
            (void)!::write(pid_pipe.write_end.number(), &grandchild, sizeof grandchild);
            (void)!::read(reap_pipe.read_end.number(), &word, 1);
        });
        read_pid();
    }

    void read_pid() {
        support::wait_readable(pid_pipe.read_end.number(), support::Deadline(support::soon));
        REQUIRE(::read(pid_pipe.read_end.number(), &pid, sizeof pid) == sizeof pid);
    }

    void end() const { REQUIRE(::kill(pid, SIGUSR1) == 0); }

    // Its parent reaps it, once it has ended.
    void be_reaped() {
        REQUIRE(::write(reap_pipe.write_end.number(), "r", 1) == 1);
        read_pid();
    }
};

} // namespace

TEST_CASE("a process that is not our child is seen to end, and is never reaped by us") {
    Foreign foreign(5);
    Child child = Child::of_pid(foreign.pid);
    const Fd pidfd = child.take_pidfd();
    CHECK_FALSE(child.is_ours());
    CHECK_FALSE(child.reap(pidfd));
    CHECK(child.known());
    foreign.end();
    foreign.be_reaped();
    const auto status = child.reap(pidfd);
    REQUIRE(status);
    CHECK_FALSE(child.known());
    // PIDFD_GET_INFO tells since Linux 6.15; before it, nobody can.
    if (status->kind != Kind::unknown) {
        CHECK(is(status, Kind::exited, 5));
    } else {
        WARN("this kernel does not tell the status of somebody else's child");
    }
}

TEST_CASE("a process that is not our child and is a zombie is never given a status of 0") {
    Foreign foreign(5);
    Child child = Child::of_pid(foreign.pid);
    const Fd pidfd = child.take_pidfd();
    foreign.end();
    pollfd ended{.fd = pidfd.number(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&ended, 1, 10'000) == 1);
    const auto status = child.reap(pidfd);
    if (status) {
        CHECK((is(status, Kind::exited, 5) || is(status, Kind::unknown, 0)));
        CHECK_FALSE(child.known());
    }
}

TEST_CASE("a status that the kernel will tell is not given up while its parent has yet to reap") {
    Foreign foreign(5);
    Child child = Child::of_pid(foreign.pid);
    const Fd pidfd = child.take_pidfd();
    foreign.end();
    pollfd ended{.fd = pidfd.number(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&ended, 1, 10'000) == 1);
    const auto early = child.reap(pidfd);
    foreign.be_reaped();
    Child again{foreign.pid, Fd{}};
    const auto late = again.reap(pidfd);
    REQUIRE(late);
    if (late->kind == Kind::unknown) {
        WARN("this kernel does not tell the status of somebody else's child");
        return;
    }
    CHECK((!early || early->kind == Kind::exited));
}

TEST_CASE("with no patience left the status of somebody else's zombie is unknown") {
    Foreign foreign(0);
    Child child = Child::of_pid(foreign.pid);
    const Fd pidfd = child.take_pidfd();
    CHECK_FALSE(child.reap(pidfd, Child::Patience::ends)); // it runs
    foreign.end();
    pollfd ended{.fd = pidfd.number(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&ended, 1, 10'000) == 1);
    CHECK(is(child.reap(pidfd, Child::Patience::ends), Kind::unknown, 0));
    CHECK_FALSE(child.known());
}

TEST_CASE("without a pidfd the end of a process that is not our child is seen by its pid") {
    Foreign foreign(0);
    Child child = Child::of_pid(foreign.pid);
    CHECK_FALSE(child.reap(FdRef{}));
    foreign.end();
    foreign.be_reaped();
    CHECK(is(child.reap(FdRef{}), Kind::unknown, 0)); // never a 0 that nobody knows (regression 14)
    CHECK_FALSE(child.known());
}

TEST_CASE("where the kernel cannot tell a status it is unknown, not 0 (regression 14)") {
    for (const int code : {ENOTTY, EINVAL, ESRCH}) {
        Foreign foreign(0);
        Child child = Child::of_pid(foreign.pid);
        const Fd pidfd = child.take_pidfd();
        foreign.end();
        foreign.be_reaped();
        const Faults faults(
            [=](const Call& call) { return Instead{.error = call.name == "ioctl" ? code : 0}; });
        const auto status = child.reap(pidfd);
        CHECK(is(status, Kind::unknown, 0));
        CHECK(status->code() == -1);
    }
}

TEST_CASE("a process that must not be signalled is not gone") {
    // kill(2) says EPERM for a live process of somebody else.
    Foreign foreign(0);
    Child child = Child::of_pid(foreign.pid);
    const Faults faults("kill", 1, EPERM);
    CHECK_FALSE(child.reap(FdRef{}));
    CHECK(faults.fired());
}

TEST_CASE("reap_others reaps all that have ended, but one, and leaves the living alone") {
    const Forked living([] { sleep_for_ever(); });
    std::vector<pid_t> ended;
    for (int i = 0; i < 20; ++i) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::_exit(i);
        }
        ended.push_back(pid);
        await_end(pid);
    }
    SECTION("without one to spare") {
        CHECK_FALSE(sys::reap_others(0));
        for (const pid_t pid : ended) {
            CHECK_FALSE(exists(pid));
        }
    }
    SECTION("sparing one that lives") {
        CHECK_FALSE(sys::reap_others(living.pid));
        for (const pid_t pid : ended) {
            CHECK_FALSE(exists(pid));
        }
    }
    SECTION("sparing the last that ended") {
        CHECK(sys::reap_others(ended.back()));
        CHECK(exists(ended.back()));
        await_end(ended.back());
        CHECK(::waitpid(ended.back(), nullptr, 0) == ended.back());
    }
    SECTION("sparing the first that ended") {
        CHECK(sys::reap_others(ended.front()));
        CHECK(exists(ended.front()));
        CHECK(::waitpid(ended.front(), nullptr, 0) == ended.front());
        // The others wait until that one has been reaped.
        CHECK_FALSE(sys::reap_others(ended.front()));
        for (const pid_t pid : ended) {
            CHECK_FALSE(exists(pid));
        }
    }
    CHECK(exists(living.pid));
    (void)sys::reap_others(0);
}

TEST_CASE("reap_others with no children at all returns at once") {
    CHECK_FALSE(sys::reap_others(0));
    CHECK_FALSE(sys::reap_others(1));
}

TEST_CASE("wait_for waits for its child and reaps what ends before it") {
    const pid_t early = ::fork();
    if (early == 0) {
        ::_exit(0);
    }
    await_end(early);
    sys::Pipe pipe = *sys::make_pipe(0);
    const pid_t late = ::fork();
    if (late == 0) {
        ::usleep(30'000);
        (void)!::write(pipe.write_end.number(), "x", 1);
        ::_exit(1);
    }
    sys::wait_for(late);
    CHECK_FALSE(exists(early));
    CHECK_FALSE(exists(late));
    sys::wait_for(late); // nobody left: returns
    const Forked next([] { ::_exit(0); });
    const Faults faults("waitid", 1, EINTR);
    sys::wait_for(next.pid);
    CHECK(faults.fired());
    CHECK_FALSE(exists(next.pid));
}

TEST_CASE("a subreaper gets its orphans, until it lets go") {
    CHECK(unit::in_copy([]() -> std::string {
              sys::set_subreaper(true);
              int on = 0;
              ::prctl(PR_GET_CHILD_SUBREAPER, &on);
              if (on != 1) {
                  return "not a subreaper";
              }
              sys::set_subreaper(false);
              ::prctl(PR_GET_CHILD_SUBREAPER, &on);
              return on == 0 ? "" : "still a subreaper";
          }) == "");
}

TEST_CASE("a failed start tells the step and the reason and leaves nothing behind") {
    const auto before = unit::open_descriptors();
    const support::TempDir directory;
    support::write_file(directory / "text", "no program", 0755);
    support::write_file(directory / "mode", "#!/bin/sh\n", 0644);
    const std::string text = directory / "text";
    const std::string mode = directory / "mode";
    Start start("exit 0");
    const auto expect = [&](const char* path, int code) {
        INFO(path);
        start.plan.path = path;
        const auto child = sys::spawn(start.plan);
        REQUIRE_FALSE(child);
        CHECK(child.error().code == code);
        CHECK(child.error().call == "execute");
    };
    expect("/nowhere/at/all", ENOENT);
    expect(text.c_str(), ENOEXEC);
    expect(mode.c_str(), EACCES);
    expect("/", EACCES);
    expect((text + "/x").c_str(), ENOTDIR);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1); // no child, not even a zombie
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("a failed start reaps only what it started") {
    const Forked container([] { ::_exit(6); });
    await_end(container.pid);
    Start start("exit 0");
    start.plan.path = "/nowhere";
    CHECK_FALSE(sys::spawn(start.plan));
    Child child = Child::of_pid(container.pid);
    CHECK(is(child.reap(FdRef{}), Kind::exited, 6));
}

TEST_CASE("a start fails with the step when a fork or a stream is refused") {
    const auto before = unit::open_descriptors();
    Start start("exit 0");
    sys::Pipe pipe = *sys::make_pipe(0);
    start.plan.standard_output = pipe.write_end;
    for (const int code : {EAGAIN, ENOMEM}) {
        const Faults faults("clone", 1, code);
        const auto child = sys::spawn(start.plan);
        REQUIRE_FALSE(child);
        CHECK(child.error().code == code);
        CHECK(child.error().call == "fork");
    }
    for (const int code : {EMFILE, EBADF, EINTR}) {
        const Faults faults("dup2", 1, code);
        const auto child = sys::spawn(start.plan);
        REQUIRE_FALSE(child);
        CHECK(child.error().code == code);
        CHECK(child.error().call == "set up standard streams");
        CHECK(faults.count("execve") == 0);
    }
    for (const int code : {E2BIG, ENOMEM, ETXTBSY}) {
        const Faults faults("execve", 1, code);
        const auto child = sys::spawn(start.plan);
        REQUIRE_FALSE(child);
        CHECK(child.error().code == code);
        CHECK(child.error().call == "execute");
    }
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
    pipe = {};
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("what a start may fail at without harm does not fail it") {
    Start start("exit 11");
    start.plan.dies_with_parent = true;
    start.plan.oom_score_adjustment = "0";
    for (const std::string_view name : {"prctl", "open", "write", "close", "sigprocmask"}) {
        INFO(name);
        const Faults faults(name, 1, EPERM);
        auto child = sys::spawn(start.plan);
        REQUIRE(child);
        CHECK(faults.fired());
        CHECK(is(wait_and_reap(*child), Kind::exited, 11));
    }
}

TEST_CASE("the new process gets its three streams, and what is not named it keeps") {
    sys::Pipe in = *sys::make_pipe(0);
    sys::Pipe out = *sys::make_pipe(0);
    sys::Pipe err = *sys::make_pipe(0);
    Start start("cat; echo err >&2; ls -v /proc/$$/fd | tr '\\n' ' '");
    start.plan.standard_input = in.read_end;
    start.plan.standard_output = out.write_end;
    start.plan.standard_error = err.write_end;
    REQUIRE(::write(in.write_end.number(), "hello ", 6) == 6);
    in.write_end.reset();
    const int inherited = ::dup(0); // NOLINT(android-cloexec-dup)
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    out.write_end.reset();
    err.write_end.reset();
    CHECK(is(wait_and_reap(*child), Kind::exited, 0));
    char buffer[200];
    const ssize_t got = ::read(out.read_end.number(), buffer, sizeof buffer);
    REQUIRE(got > 0);
    const std::string text(buffer, static_cast<size_t>(got));
    CHECK(text.substr(0, 12) == "hello 0 1 2 ");
    CHECK(text.find(" " + std::to_string(inherited) + " ") != std::string::npos);
    CHECK(::read(err.read_end.number(), buffer, sizeof buffer) == 4);
    ::close(inherited);
}

TEST_CASE("the same descriptor may serve as several streams, and one at its own number stays") {
    sys::Pipe out = *sys::make_pipe(0);
    Start start("echo one; echo two >&2");
    start.plan.standard_output = out.write_end;
    start.plan.standard_error = out.write_end;
    start.plan.standard_input = FdRef{0};
    auto child = sys::spawn(start.plan);
    REQUIRE(child);
    CHECK(is(wait_and_reap(*child), Kind::exited, 0));
    char buffer[20];
    CHECK(::read(out.read_end.number(), buffer, sizeof buffer) == 8);
}

TEST_CASE("the new process has the mask, the environment and the arguments of its plan") {
    Start start("echo $0 $ONE $2");
    start.arguments = {"sh", "-c", start.script.c_str(), "name", "first", "second", nullptr};
    start.plan.arguments = start.arguments.data();
    char one[] = "ONE=1";
    start.environment = {one, nullptr};
    start.plan.environment = start.environment.data();
    CHECK(output_of(start) == "name 1 second\n");
    ::sigaddset(&start.mask, SIGUSR1);
    sigset_t before;
    ::sigprocmask(SIG_SETMASK, nullptr, &before);
    // (A shell would change its mask.)
    start.arguments = {"grep", "SigBlk", "/proc/self/status", nullptr};
    start.plan.arguments = start.arguments.data();
    start.plan.path = "/bin/grep";
    CHECK(output_of(start) == "SigBlk:\t0000000000000200\n");
    sigset_t after;
    ::sigprocmask(SIG_SETMASK, nullptr, &after);
    CHECK(::sigismember(&after, SIGUSR1) == ::sigismember(&before, SIGUSR1));
}

TEST_CASE("the new process finds its own pid in LISTEN_PID, and our environment stays as it was") {
    char first[] = "A=b";
    char listen[] = "LISTEN_PID=123";
    char last[] = "C=d";
    Start start("echo $A $LISTEN_PID $C $$");
    start.environment = {first, listen, last, nullptr};
    start.plan.environment = start.environment.data();
    start.plan.listen_pid_index = 1;
    const std::string text = output_of(start);
    const std::string pid = text.substr(text.rfind(' ') + 1, text.size() - text.rfind(' ') - 2);
    CHECK(text == "b " + pid + " d " + pid + "\n");
    CHECK(start.environment[1] == listen);
    CHECK(std::string_view(listen) == "LISTEN_PID=123");
    start.plan.path = "/nowhere";
    CHECK_FALSE(sys::spawn(start.plan));
    CHECK(start.environment[1] == listen);
}

TEST_CASE("the new process gets an oom score of its own, and dies with us if asked to") {
    std::ifstream file("/proc/self/oom_score_adj");
    std::string ours;
    file >> ours;
    Start start("cat /proc/self/oom_score_adj");
    start.plan.oom_score_adjustment = "555";
    CHECK(output_of(start) == "555\n");
    std::ifstream again("/proc/self/oom_score_adj");
    std::string now;
    again >> now;
    CHECK(now == ours);

    sys::Pipe pipe = *sys::make_pipe(0);
    const Forked parent([&] {
        Start child("exec sleep 1000");
        child.plan.dies_with_parent = true;
        pipe.read_end.reset();
        const auto spawned = sys::spawn(child.plan);
        const pid_t pid = spawned ? spawned->pid() : 0;
        (void)!::write(pipe.write_end.number(), &pid, sizeof pid);
        ::_exit(0);
    });
    pid_t pid = 0;
    REQUIRE(::read(pipe.read_end.number(), &pid, sizeof pid) == sizeof pid);
    REQUIRE(pid > 0);
    CHECK(support::eventually([&] {
        std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
        std::string word;
        stat >> word >> word >> word; // gone, or a zombie of whoever adopted it
        return !stat || word == "Z";
    }));
}

TEST_CASE("many failed and successful starts leave nothing behind") {
    const auto before = unit::open_descriptors();
    Start good("exit 0");
    Start bad("exit 0");
    bad.plan.path = "/nowhere";
    good.plan.path = "/bin/true";
    for (int i = 0; i < 250; ++i) {
        CHECK_FALSE(sys::spawn(bad.plan));
        auto child = sys::spawn(good.plan);
        REQUIRE(child);
        CHECK(is(wait_and_reap(*child), Kind::exited, 0));
    }
    CHECK(unit::open_descriptors() == before);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}
