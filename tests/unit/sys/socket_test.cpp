// Unix sockets: bound through a directory's descriptor, and the one descriptor of a console.

#include "shadow/faults.h"
#include "support/files.h"
#include "sys/socket.h"
#include "unit/sys/ours.h"

#include <cstring>
#include <optional>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

using shadow::Faults;
using support::TempDir;
using sys::Fd;
using sys::FdRef;
using sys::SocketKind;

namespace {

Fd open_directory(const std::string& path) {
    auto directory = sys::open_at(
        sys::working_directory(), path.c_str(), O_PATH | O_DIRECTORY, 0, "open directory");
    REQUIRE(directory);
    return std::move(*directory);
}

int type_of(FdRef socket) {
    int type = 0;
    socklen_t size = sizeof type;
    ::getsockopt(socket.number(), SOL_SOCKET, SO_TYPE, &type, &size);
    return type;
}

// Connects as Podman does: through a descriptor of the socket's file.
Fd connect_to(const std::string& path) {
    const Fd file{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    REQUIRE(file.valid());
    Fd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(socket, "/proc/self/fd/" + std::to_string(file.number())));
    return socket;
}

} // namespace

TEST_CASE("sockets are of their kind, close-on-exec and non-blocking from birth") {
    for (const auto& [kind, type] : {std::pair{SocketKind::stream, SOCK_STREAM},
                                     std::pair{SocketKind::datagram, SOCK_DGRAM},
                                     std::pair{SocketKind::record, SOCK_SEQPACKET}}) {
        const auto socket = sys::make_socket(kind);
        REQUIRE(socket);
        CHECK(type_of(*socket) == type);
        CHECK(unit::closes_on_exec(*socket));
        CHECK(unit::is_nonblocking(*socket));
    }
}

TEST_CASE(
    "a listener is reached under its directory's path, however long that is (regression 35)") {
    for (const size_t length : {0, 90, 107, 108, 109, 300, 2000}) {
        const TempDir directory(length);
        INFO(directory.path().size());
        const Fd at = open_directory(directory.path());
        const mode_t old = ::umask(0077);
        const auto listener = sys::listen_in(at, "attach", SocketKind::record, 0700);
        ::umask(old);
        REQUIRE(listener);
        CHECK(support::type_of(directory / "attach") == S_IFSOCK);
        CHECK(support::mode_of(directory / "attach") == 0700);
        CHECK(unit::closes_on_exec(*listener));
        CHECK(unit::is_nonblocking(*listener));

        const auto nobody = sys::accept_one(*listener);
        REQUIRE_FALSE(nobody);
        CHECK(nobody.error().code == EAGAIN);
        const Fd client = connect_to(directory / "attach");
        const auto accepted = sys::accept_one(*listener);
        REQUIRE(accepted);
        CHECK(unit::closes_on_exec(*accepted));
        CHECK(unit::is_nonblocking(*accepted));
    }
}

TEST_CASE("the mode of a socket's file does not depend on the umask") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    for (const mode_t mask : {0000, 0022, 0777}) {
        const mode_t old = ::umask(mask);
        const auto socket = sys::bind_in(at, "notify.sock", SocketKind::datagram, 0777);
        ::umask(old);
        REQUIRE(socket);
        CHECK(support::mode_of(directory / "notify.sock") == 0777);
    }
}

TEST_CASE("what was at a socket's name is replaced, a directory is not") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    SECTION("a stale socket") {
        REQUIRE(sys::listen_in(at, "attach", SocketKind::record, 0700));
    }
    SECTION("a regular file") {
        support::write_file(directory / "attach", "x");
    }
    SECTION("a link, whose target stays") {
        support::write_file(directory / "target", "kept");
        REQUIRE(::symlink((directory / "target").c_str(), (directory / "attach").c_str()) == 0);
    }
    const auto listener = sys::listen_in(at, "attach", SocketKind::record, 0700);
    REQUIRE(listener);
    CHECK(support::type_of(directory / "attach") == S_IFSOCK);
    const Fd client = connect_to(directory / "attach");
    CHECK(sys::accept_one(*listener));
    CHECK(support::try_read_file(directory / "target").value_or("kept") == "kept");

    REQUIRE(::mkdir((directory / "sub").c_str(), 0700) == 0);
    const auto refused = sys::listen_in(at, "sub", SocketKind::record, 0700);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().call == "remove");
}

TEST_CASE("a listener in a directory that has gone is refused with the reason") {
    std::optional<TempDir> directory(std::in_place);
    const Fd at = open_directory(directory->path());
    directory.reset();
    const auto before = unit::open_descriptors();
    const auto listener = sys::listen_in(at, "attach", SocketKind::record, 0700);
    REQUIRE_FALSE(listener);
    CHECK(listener.error().code == ENOENT);
    CHECK(listener.error().call == "bind socket");
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("paths up to 107 bytes fit a socket address, longer ones are refused and never cut") {
    const TempDir directory(60);
    for (const size_t length : {100, 106, 107, 108, 109, 500}) {
        INFO(length);
        std::string path = directory / "";
        path.resize(length, 'n');
        const Fd socket = *sys::make_socket(SocketKind::stream);
        const auto bound = sys::bind_path(socket, path);
        const Fd client = *sys::make_socket(SocketKind::stream);
        if (length <= 107) {
            REQUIRE(bound);
            CHECK(support::type_of(path) == S_IFSOCK);
            REQUIRE(sys::start_listening(socket));
            CHECK(sys::connect_path(client, path));
            continue;
        }
        REQUIRE_FALSE(bound);
        CHECK(bound.error().code == ENAMETOOLONG);
        const auto connected = sys::connect_path(client, path);
        REQUIRE_FALSE(connected);
        CHECK(connected.error().code == ENAMETOOLONG);
    }
    CHECK(support::names_in(directory.path()).size() == 3);
}

TEST_CASE("connecting tells why it was refused") {
    const TempDir directory;
    const Fd socket = *sys::make_socket(SocketKind::datagram);
    const auto missing = sys::connect_path(socket, directory / "none");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == ENOENT);
    CHECK(missing.error().call == "connect socket");
    {
        REQUIRE(sys::bind_path(*sys::make_socket(SocketKind::datagram), directory / "stale"));
    }
    const auto stale = sys::connect_path(socket, directory / "stale");
    REQUIRE_FALSE(stale);
    CHECK(stale.error().code == ECONNREFUSED);
}

TEST_CASE("a datagram connects when need be, once more when its receiver was replaced, and tells "
          "why not") {
    const TempDir directory;
    const std::string path = directory / "log";
    const auto before = unit::open_descriptors();
    {
        Fd socket;
        std::string text = "hello";
        const auto send = [&] {
            iovec part{.iov_base = text.data(), .iov_len = text.size()};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            const auto sent = sys::send_datagram(socket, path, message);
            return sent ? 0 : sent.error().code;
        };
        std::optional<Fd> receiver;
        const auto start = [&] {
            ::unlink(path.c_str());
            receiver.emplace(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            REQUIRE(sys::bind_path(*receiver, path));
        };
        const auto received = [&] {
            char buffer[100];
            return ::recv(receiver->number(), buffer, sizeof buffer, 0);
        };
        CHECK(send() == ENOENT);
        CHECK_FALSE(socket.valid());
        start();
        CHECK(send() == 0);
        CHECK(received() == 5);
        start(); // another one at the same name
        CHECK(send() == 0);
        CHECK(received() == 5);
        receiver.reset();
        CHECK(send() == ECONNREFUSED);
        CHECK_FALSE(socket.valid());
        start();
        text.resize(10 << 20);
        CHECK(send() == EMSGSIZE);
        text = "x";
        int code = 0;
        for (int i = 0; i < 100'000 && code == 0; ++i) {
            code = send();
        }
        CHECK(code == EAGAIN);
        CHECK(socket.valid());
        while (received() > 0) {
        }
        CHECK(send() == 0);
    }
    CHECK(unit::open_descriptors() == before);
}

namespace {

struct Pair {
    Fd ours;
    Fd theirs;
};

Pair pair_of(int type) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
    return {Fd{ends[0]}, Fd{ends[1]}};
}

// Sends `data` with `count` descriptors.
void send_fds(FdRef to, std::string_view data, size_t count) {
    const Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    iovec part{.iov_base = const_cast<char*>(data.data()), .iov_len = data.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
    if (count != 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (size_t i = 0; i < count; ++i) {
            const int number = null.number();
            std::memcpy(CMSG_DATA(header) + i * sizeof number, &number, sizeof number);
        }
    }
    REQUIRE(::sendmsg(to.number(), &message, 0) == static_cast<ssize_t>(data.size()));
}

} // namespace

TEST_CASE("exactly one descriptor with some data is a terminal's, close-on-exec") {
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
        const Pair pair = pair_of(type);
        for (const std::string& name :
             {std::string("/dev/pts/7"), std::string("x"), std::string(4095, 'n')}) {
            const auto before = unit::open_descriptors();
            send_fds(pair.theirs, name, 1);
            {
                const auto fd = sys::receive_fd(pair.ours);
                REQUIRE(fd);
                CHECK(unit::open_descriptors().size() == before.size() + 1);
                CHECK(unit::closes_on_exec(*fd));
                struct stat status{};
                REQUIRE(::fstat(fd->number(), &status) == 0);
                CHECK(S_ISCHR(status.st_mode));
            }
            CHECK(unit::open_descriptors() == before);
        }
    }
}

TEST_CASE("nothing sent yet is EAGAIN, a closed peer is a protocol error") {
    Pair pair = pair_of(SOCK_STREAM);
    const auto nothing = sys::receive_fd(pair.ours);
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().code == EAGAIN);
    pair.theirs.reset();
    const auto closed = sys::receive_fd(pair.ours);
    REQUIRE_FALSE(closed);
    CHECK(closed.error().code == EPROTO);
}

TEST_CASE("any other message is a protocol error, and no descriptor of it stays open") {
    const auto before = unit::open_descriptors();
    const auto refused = [&](const Pair& pair) {
        const auto held = unit::open_descriptors();
        const auto fd = sys::receive_fd(pair.ours);
        REQUIRE_FALSE(fd);
        CHECK(fd.error().code == EPROTO);
        CHECK(fd.error().call == "receive terminal");
        CHECK(unit::open_descriptors() == held);
    };
    SECTION("data without a descriptor") {
        const Pair pair = pair_of(SOCK_STREAM);
        send_fds(pair.theirs, "console", 0);
        refused(pair);
    }
    SECTION("two and more descriptors, up to what a buffer holds and beyond it") {
        for (const size_t count : {2, 3, 7, 8, 9, 10, 11, 100, 253}) {
            INFO(count);
            const Pair pair = pair_of(SOCK_STREAM);
            send_fds(pair.theirs, "console", count);
            refused(pair);
        }
    }
    SECTION("a descriptor without data") {
        for (const int type : {SOCK_SEQPACKET, SOCK_DGRAM}) {
            const Pair pair = pair_of(type);
            send_fds(pair.theirs, "", 1);
            refused(pair);
        }
    }
    SECTION("an empty record") {
        const Pair pair = pair_of(SOCK_SEQPACKET);
        send_fds(pair.theirs, "", 0);
        refused(pair);
    }
    SECTION("control data of another type") {
        const Pair pair = pair_of(SOCK_STREAM);
        const int on = 1;
        REQUIRE(::setsockopt(pair.ours.number(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
        send_fds(pair.theirs, "console", 0);
        refused(pair);
    }
    SECTION("control data of another type that leaves no room for the descriptor") {
        const Pair pair = pair_of(SOCK_STREAM);
        const int on = 1;
        REQUIRE(::setsockopt(pair.ours.number(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
        send_fds(pair.theirs, "console", 1);
        refused(pair);
    }
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE(
    "a descriptor that we have no room for is a protocol error, and the next one comes through") {
    CHECK(unit::in_copy([]() -> std::string {
              const Pair pair = pair_of(SOCK_STREAM);
              send_fds(pair.theirs, "console", 1);
              std::vector<Fd> all;
              for (int number = 0; (number = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
                  all.emplace_back(number);
              }
              if (errno != EMFILE) {
                  return "no EMFILE";
              }
              const auto fd = sys::receive_fd(pair.ours);
              if (fd || fd.error().code != EPROTO) {
                  return "not EPROTO";
              }
              // Room for one of two: that one alone is not taken for the message.
              all.pop_back();
              send_fds(pair.theirs, "console", 2);
              const auto half = sys::receive_fd(pair.ours);
              if (half || half.error().code != EPROTO) {
                  return "one of two was taken";
              }
              all.clear();
              send_fds(pair.theirs, "console", 1);
              return sys::receive_fd(pair.ours) ? "" : "the next one was refused";
          }) == "");
}

TEST_CASE("two messages in a stream give their descriptors one after the other") {
    const Pair pair = pair_of(SOCK_STREAM);
    send_fds(pair.theirs, "one", 1);
    send_fds(pair.theirs, "two", 1);
    CHECK(sys::receive_fd(pair.ours));
    CHECK(sys::receive_fd(pair.ours));
    const auto none = sys::receive_fd(pair.ours);
    REQUIRE_FALSE(none);
    CHECK(none.error().code == EAGAIN);
}
