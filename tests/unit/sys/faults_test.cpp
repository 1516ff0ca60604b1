// Each system call of each function that opens or makes something fails once, with each plausible
// reason. Then: the error names the step and carries the reason, or the failure is one that does no
// harm; no descriptor and no file is left behind. A call that this table does not know fails the
// test, so that new ones are thought about.

#include "shadow/faults.h"
#include "support/files.h"
#include "sys/cgroup.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/poller.h"
#include "sys/signals.h"
#include "sys/socket.h"
#include "sys/tty.h"
#include "unit/sys/ours.h"

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

using base::Error;
using base::Result;
using shadow::Call;
using shadow::Faults;
using support::TempDir;
using sys::Fd;

namespace {

struct Step {
    Call call;
    std::vector<int> reasons;
    std::string_view step; // of the error; empty: the failure does no harm
};

using Operation = std::function<std::optional<Error>()>;

template <typename T> std::optional<Error> refusal(const Result<T>& result) {
    return result ? std::optional<Error>{} : std::optional{result.error()};
}

// `operation` gives what it refused, if it did; what it returned is closed by then. `clean` puts
// the world back and says what a failure left behind.
void sweep(
    const Operation& operation,
    const std::vector<Step>& steps,
    const std::function<void(bool failed)>& clean = [](bool) {}) {
    {
        const Faults faults;
        const auto refused = operation();
        REQUIRE_FALSE(refused);
        for (const Call& call : faults.calls()) {
            INFO(call.name << " " << call.nth << " is not in the table");
            CHECK(std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
                      return step.call == call;
                  }) != steps.end());
        }
        clean(false);
    }
    for (const Step& step : steps) {
        for (const int reason : step.reasons) {
            INFO(step.call.name << " " << step.call.nth << " fails with " << reason);
            const auto before = unit::open_descriptors();
            bool fired = false;
            std::optional<Error> refused;
            {
                const Faults faults(step.call.name, step.call.nth, reason);
                refused = operation();
                fired = faults.fired();
            }
            CHECK(fired);
            CHECK(unit::open_descriptors() == before);
            if (step.step.empty()) {
                CHECK_FALSE(refused);
            } else {
                REQUIRE(refused);
                CHECK(refused->code == reason);
                CHECK(refused->call == step.step);
            }
            clean(refused.has_value());
        }
    }
}

const std::vector<int> of_open{EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, EINTR};
const std::vector<int> of_close{EINTR, EIO};

} // namespace

TEST_CASE("every call of open_at, make_pipe and the descriptor flags may fail") {
    sweep([] { return refusal(sys::open_at(sys::working_directory(), "/", O_PATH, 0, "try")); },
          {{{"openat", 1}, of_open, "try"}, {{"close", 1}, of_close, ""}});
    sweep([] { return refusal(sys::make_pipe(O_NONBLOCK)); },
          {{{"pipe2", 1}, {EMFILE, ENFILE}, "create pipe"},
           {{"close", 1}, of_close, ""},
           {{"close", 2}, of_close, ""}});
    const Fd fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    sweep([&] { return refusal(sys::set_nonblocking(fd)); },
          {{{"fcntl", 1}, {EBADF}, "make descriptor non-blocking"},
           {{"fcntl", 2}, {EBADF, EPERM}, "make descriptor non-blocking"}});
    sweep([&] { return refusal(sys::set_close_on_exec(fd)); },
          {{{"fcntl", 1}, {EBADF}, "make descriptor close-on-exec"}});
    sweep([&] { return refusal(sys::place_at(fd, fd.number())); },
          {{{"dup2", 1}, {EBADF, EMFILE, EINTR, EBUSY}, "duplicate descriptor"}});
}

TEST_CASE("every call of put_null_at_stdio may fail") {
    CHECK(unit::in_copy([]() -> std::string {
              for (const auto& [name, nth] :
                   {std::pair{"openat", 1}, {"dup2", 1}, {"dup2", 2}, {"dup2", 3}}) {
                  const auto before = unit::open_descriptors();
                  const Faults faults(name, nth, EMFILE);
                  const auto put = sys::put_null_at_stdio();
                  if (put || put.error().code != EMFILE || unit::open_descriptors() != before) {
                      return std::string(name) + std::to_string(nth);
                  }
              }
              return "";
          }) == "");
}

TEST_CASE("every call of write_atomically may fail, and no temporary file is left") {
    const TempDir directory;
    const std::string path = directory / "exit";
    sweep([&] { return refusal(sys::write_atomically(path.c_str(), "137")); },
          {{{"getrandom", 1}, {EAGAIN, ENOSYS, EINTR}, ""},
           {{"openat", 1}, {EMFILE, ENOSPC, EROFS, EACCES, ENOENT, EDQUOT}, "create"},
           {{"openat", 1}, {EEXIST}, ""},
           {{"write", 1}, {ENOSPC, EIO, EDQUOT, EFBIG}, "write"},
           {{"write", 1}, {EINTR}, ""},
           {{"close", 1}, of_close, ""},
           {{"renameat", 1}, {ENOSPC, EACCES, EROFS, EISDIR, EIO}, "rename"}},
          [&](bool failed) {
              const auto names = support::names_in(directory.path());
              CHECK(names ==
                    (failed ? std::vector<std::string>{} : std::vector<std::string>{"exit"}));
              ::unlink(path.c_str());
          });
}

TEST_CASE("every call of make_fifo may fail, and no file is left that we could not open") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    sweep([&] { return refusal(sys::make_fifo(at, "ctl", 0660)); },
          {{{"mkfifoat", 1}, {ENOSPC, EROFS, EDQUOT}, "create fifo"},
           {{"mkfifoat", 1}, {EEXIST}, ""},
           {{"openat", 1}, {EMFILE, ENFILE, ENOMEM, ELOOP}, "open fifo"},
           {{"close", 1}, of_close, ""}},
          [&](bool) { ::unlink((directory / "ctl").c_str()); });
}

TEST_CASE("every call of read_small, remove and touch may fail") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    std::array<std::byte, 100> buffer;
    sweep([&] { return refusal(sys::read_small("/proc/self/stat", buffer)); },
          {{{"openat", 1}, of_open, "open"},
           {{"read", 1}, {EIO, ESRCH, EISDIR}, "read"},
           {{"close", 1}, of_close, ""}});
    sweep([&] { return refusal(sys::remove(at, "none")); },
          {{{"unlinkat", 1}, {EACCES, EROFS, EBUSY}, "remove"}, {{"unlinkat", 1}, {ENOENT}, ""}});
    sweep([&] { return refusal(sys::touch(at, "oom")); },
          {{{"openat", 1}, {EMFILE, ENOSPC, EROFS}, "create"}, {{"close", 1}, of_close, ""}});
}

TEST_CASE("every call of listen_in and bind_in may fail") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    const auto clean = [&](bool) { ::unlink((directory / "attach").c_str()); };
    sweep([&] { return refusal(sys::listen_in(at, "attach", sys::SocketKind::record, 0700)); },
          {{{"socket", 1}, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT}, "create socket"},
           {{"openat", 1}, {EACCES, EMFILE, ENOMEM}, ""},
           {{"fchdir", 1}, {EACCES, ENOTDIR, EIO}, "change to directory"},
           {{"fchdir", 2}, {EACCES, ESTALE, EIO}, "change back to directory"},
           {{"bind", 1}, {EACCES, ENOENT, EROFS, ENOSPC}, "bind socket"},
           {{"bind", 1}, {EADDRINUSE}, ""},
           {{"fchmodat", 1}, {EPERM, EROFS, EIO}, "set mode of socket"},
           {{"listen", 1}, {EADDRINUSE, EOPNOTSUPP}, "listen on socket"},
           {{"close", 1}, of_close, ""},
           {{"close", 2}, of_close, ""}},
          clean);
    sweep([&] { return refusal(sys::bind_in(at, "attach", sys::SocketKind::datagram, 0777)); },
          {{{"socket", 1}, {EMFILE, ENFILE}, "create socket"},
           {{"openat", 1}, {EACCES, EMFILE}, ""},
           {{"fchdir", 1}, {EACCES}, "change to directory"},
           {{"fchdir", 2}, {EACCES}, "change back to directory"},
           {{"bind", 1}, {EACCES, ENOENT, EROFS, ENOSPC}, "bind socket"},
           {{"fchmodat", 1}, {EPERM, EROFS, EIO}, "set mode of socket"},
           {{"close", 1}, of_close, ""},
           {{"close", 2}, of_close, ""}},
          clean);
}

TEST_CASE("a stale file that cannot be removed, or comes back, is refused with the reason") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    const auto fifo = [&] { return refusal(sys::make_fifo(at, "name", 0660)); };
    const auto socket = [&] {
        return refusal(sys::bind_in(at, "name", sys::SocketKind::datagram, 0700));
    };
    for (const auto& make : {std::function{fifo}, std::function{socket}}) {
        support::write_file(directory / "name", "stale");
        {
            const Faults faults("unlinkat", 1, EROFS);
            CHECK(make()->call == "remove");
        }
        {
            const Faults faults("unlinkat", 1, ENOENT); // as if somebody else had made it anew
            const auto refused = make();
            CHECK((refused->code == EEXIST || refused->code == EADDRINUSE));
        }
        CHECK_FALSE(make());
        ::unlink((directory / "name").c_str());
    }
}

TEST_CASE("a socket that cannot be used leaves no file behind") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    for (const std::string_view name : {"fchmodat", "listen"}) {
        const Faults faults(name, 1, EIO);
        CHECK_FALSE(sys::listen_in(at, "attach", sys::SocketKind::record, 0700));
        INFO(name);
        CHECK(support::names_in(directory.path()).empty());
        ::unlink((directory / "attach").c_str());
    }
}

TEST_CASE("every call of accepting, connecting and receiving a descriptor may fail") {
    const TempDir directory;
    const Fd at{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
    const auto listener = sys::listen_in(at, "l", sys::SocketKind::stream, 0700);
    REQUIRE(listener);
    sweep(
        [&]() -> std::optional<Error> {
            const Fd client{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
            if (const auto connected = sys::connect_path(client, directory / "l"); !connected) {
                return connected.error();
            }
            const auto accepted = sys::accept_one(*listener);
            if (!accepted) {
                (void)::close(::accept(listener->number(), nullptr, nullptr));
            }
            return refusal(accepted);
        },
        {{{"connect", 1}, {ECONNREFUSED, ENOENT, EAGAIN, EACCES}, "connect socket"},
         {{"accept4", 1},
          {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR},
          "accept connection"},
         {{"close", 1}, of_close, ""},
         {{"close", 2}, of_close, ""}});

    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    const Fd ours{ends[0]};
    const Fd theirs{ends[1]};
    sweep(
        [&] {
            char byte = 0;
            iovec part{.iov_base = &byte, .iov_len = 1};
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            cmsghdr* const header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            *reinterpret_cast<int*>(CMSG_DATA(header)) = 0;
            REQUIRE(::sendmsg(theirs.number(), &message, 0) == 1);
            const auto received = refusal(sys::receive_fd(ours));
            while (::recv(ours.number(), control, sizeof control, 0) > 0) {
            }
            return received;
        },
        {{{"recvmsg", 1}, {EAGAIN, ECONNRESET, ENOMEM, EINTR}, "receive terminal"},
         {{"close", 1}, of_close, ""}});
}

TEST_CASE("every call of the poller and its watches may fail") {
    sweep([] { return refusal(sys::Poller::create()); },
          {{{"epoll_create1", 1}, {EMFILE, ENFILE, ENOMEM}, "create epoll"},
           {{"close", 1}, of_close, ""}});
    auto poller = sys::Poller::create();
    REQUIRE(poller);
    sweep(
        [&]() -> std::optional<Error> {
            int ends[2];
            REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
            const Fd other{ends[1]};
            sys::Watch watch{*poller, sys::Source::control, 0, Fd{ends[0]}};
            if (const auto wanted = watch.want(EPOLLIN); !wanted) {
                return wanted.error();
            }
            if (const auto wanted = watch.want(EPOLLIN | EPOLLOUT); !wanted) {
                return wanted.error();
            }
            return refusal(watch.want(sys::Watch::nothing));
        },
        {{{"epoll_ctl", 1}, {ENOMEM, ENOSPC, EPERM, EBADF}, "watch descriptor"},
         {{"epoll_ctl", 2}, {ENOMEM, EBADF}, "watch descriptor"},
         {{"epoll_ctl", 3}, {ENOENT, EBADF}, ""},
         {{"close", 1}, of_close, ""},
         {{"close", 2}, of_close, ""}});
}

TEST_CASE("every call of the signal descriptor and of the terminal may fail") {
    sweep([] { return refusal(sys::open_signal_fd()); },
          {{{"signalfd", 1}, {EMFILE, ENFILE, ENOMEM, ENODEV}, "create signalfd"},
           {{"close", 1}, of_close, ""}});
    const Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    REQUIRE(master.valid());
    sweep([&] { return refusal(sys::translate_newlines(master)); },
          {{{"tcgetattr", 1}, {ENOTTY, EIO}, "get terminal settings"},
           {{"tcsetattr", 1}, {ENOTTY, EIO}, "set terminal settings"}});
    sweep([&] { return refusal(sys::set_window_size(master, {24, 80})); },
          {{{"ioctl", 1}, {ENOTTY, EIO, EINVAL}, "set window size"}});
}

TEST_CASE("every call of finding a control group may fail") {
    base::Text<4096> path;
    const auto version = sys::cgroup_version();
    if (!sys::put_memory_cgroup(path, ::getpid(), version)) {
        WARN("this machine has no memory controller");
        return;
    }
    sweep(
        [&] {
            path.clear();
            return refusal(sys::put_memory_cgroup(path, ::getpid(), version));
        },
        {{{"openat", 1}, {EMFILE, ENOENT, EACCES}, "open"},
         {{"read", 1}, {ESRCH, EIO}, "read"},
         {{"read", 2}, {ESRCH, EIO}, "read"},
         {{"close", 1}, of_close, ""}});
}
