// Sockets that are made by any name in a directory, however long its path, while system calls fail:
// either there is one that can be reached by that name and by no other, or nothing has changed. The
// working directory is what it was.

#include "fuzz/input.h"
#include "fuzz/place.h"
#include "sys/socket.h"

#include <array>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using fuzz::must;
using sys::SocketKind;

constexpr std::array<std::string_view, 11> calls{"socket",
                                                 "bind",
                                                 "listen",
                                                 "connect",
                                                 "accept4",
                                                 "fchdir",
                                                 "openat",
                                                 "fchmodat",
                                                 "unlinkat",
                                                 "sendmsg",
                                                 "fcntl"};

int lowest_free() {
    const int number = ::dup(0); // NOLINT(android-cloexec-dup)
    must(number >= 0);
    ::close(number);
    return number;
}

ino_t working_directory() {
    struct stat status{};
    must(::stat(".", &status) == 0);
    return status.st_ino;
}

bool is_socket(const std::string& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// By a short path to the directory.
std::string path_by(const sys::Fd& directory, const std::string& name) {
    return "/proc/self/fd/" + std::to_string(directory.number()) + "/" + name;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Place place;
    static const int home = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    place.clear();
    fuzz::Input input{data, size};
    const uint8_t choice = input.byte();
    std::string path = place.path();
    if ((choice & 1U) != 0) {
        path += '/' + std::string(120, 'd'); // longer than a socket's address
        must(::mkdir(path.c_str(), 0700) == 0);
    }
    // The monitor's own names are short.
    std::string name{input.bytes(1 + input.byte() % 38U)};
    name = name.substr(0, name.find('\0'));
    if (name.empty() || name.contains('/') || name == "." || name == "..") {
        return 0;
    }
    if ((choice & 2U) != 0) {
        ::close(::open((path + '/' + name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    const ino_t here = working_directory();
    const int lowest = lowest_free();
    {
        const sys::Fd directory{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        fuzz::Plan plan;
        const shadow::Faults faults([&](const shadow::Call& call) { return plan.judge(call); });
        if ((choice & 4U) != 0) {
            plan.draw(input, calls);
        }
        constexpr std::array kinds{SocketKind::record, SocketKind::stream, SocketKind::datagram};
        const SocketKind kind = kinds[(choice >> 4) % kinds.size()];
        const bool listens = kind != SocketKind::datagram;
        const int before = lowest_free();
        auto made = listens ? sys::listen_in(directory, name.c_str(), kind, 0700)
                            : sys::bind_in(directory, name.c_str(), kind, 0600);
        must(working_directory() == here || plan.drawn());
        if (!made) {
            must(plan.drawn());
            must(lowest_free() == before);
            // What could not be removed again is left.
            must(!is_socket(path + '/' + name) || plan.drawn());
        } else {
            struct stat status{};
            must(::lstat((path + '/' + name).c_str(), &status) == 0 && S_ISSOCK(status.st_mode));
            must((status.st_mode & 0777U) == (listens ? 0700U : 0600U));
            if ((choice & 8U) != 0) {
                plan.draw(input, calls);
            }
            sys::Fd client;
            must(!sys::connect_path(*made, path + std::string(108 - path.size() % 108, 'x')));
            if (listens) {
                auto fresh = sys::make_socket(kind);
                const bool connected =
                    fresh && sys::connect_path(*fresh, path_by(directory, name)).has_value();
                must(connected || plan.drawn());
                if (connected) {
                    const auto accepted = sys::accept_one(*made);
                    must(accepted.has_value() || plan.drawn());
                    plan.stop();
                    must(!sys::accept_one(*made) || plan.drawn());
                }
            } else {
                iovec part{.iov_base = name.data(), .iov_len = name.size()};
                msghdr message{};
                message.msg_iov = &part;
                message.msg_iovlen = 1;
                const auto sent = sys::send_datagram(client, path_by(directory, name), message);
                must(sent.has_value() || plan.drawn());
                std::array<char, 200> got;
                const ssize_t count = ::recv(made->number(), got.data(), got.size(), MSG_DONTWAIT);
                must((count == static_cast<ssize_t>(name.size())) == sent.has_value());
                if ((choice & 0x80U) != 0) {
                    // Whoever was there has gone, and somebody else is there.
                    plan.stop();
                    made->reset();
                    must(!sys::send_datagram(client, path_by(directory, name), message));
                    auto other = sys::bind_in(directory, name.c_str(), kind, 0600);
                    must(other && sys::send_datagram(client, path_by(directory, name), message));
                }
            }
        }
    }
    must(::fchdir(home) == 0); // a way back that failed
    must(lowest_free() == lowest);
    return 0;
}
