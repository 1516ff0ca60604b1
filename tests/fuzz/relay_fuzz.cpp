// Datagrams from a container through the relay to a host that may be away or full, with system
// calls that fail: the host hears what the filter lets pass, in order, and nothing else; without a
// fault all of it.

#include "fuzz/input.h"
#include "fuzz/place.h"
#include "monitor/notify_relay.h"
#include "sys/socket.h"

#include <deque>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using fuzz::must;

constexpr std::array<std::string_view, 12> calls{"recvmsg",
                                                 "connect",
                                                 "write",
                                                 "socket",
                                                 "epoll_ctl",
                                                 "bind",
                                                 "fchmodat",
                                                 "fchdir",
                                                 "openat",
                                                 "unlinkat",
                                                 "sendmsg",
                                                 "fcntl"};

sys::Fd bound_at(const std::string& path) {
    sys::Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    must(::bind(fd.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

bool send_to(const std::string& path, std::string_view text) {
    const sys::Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return ::sendto(fd.number(),
                    text.data(),
                    text.size(),
                    MSG_DONTWAIT,
                    reinterpret_cast<const sockaddr*>(&address),
                    sizeof address) >= 0;
}

std::string filtered(std::string_view datagram) {
    static base::Text<40'000> sink;
    sink.clear();
    monitor::put_allowed_notices(sink, datagram);
    return std::string{sink.view()};
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Place place;
    place.clear();
    must(::mkdir((place / "notify").c_str(), 0700) == 0);
    const std::string host_path = place / "host";
    const std::string relay_path = place / "notify/notify.sock";
    fuzz::Input input{data, size};
    fuzz::Plan plan;
    const shadow::Faults faults([&](const shadow::Call& call) { return plan.judge(call); });
    if ((input.byte() & 1U) != 0) {
        plan.draw(input, calls);
    }
    static std::vector<std::byte> datagram(32'768);
    static std::vector<char> notices(32'769);
    sys::Poller poller = *sys::Poller::create();
    sys::Diag diag;
    diag.leave_standard_error();
    monitor::NotifyRelay relay{poller, diag, datagram, notices};
    const char* const bundle = (input.byte() & 7U) == 7 ? "/nowhere" : place.path().c_str();
    if (!relay.open(bundle, host_path.c_str())) {
        must(plan.drawn() || bundle != place.path().c_str());
        return 0;
    }
    sys::Fd host = bound_at(host_path);
    bool was_away = false;
    sys::Instant now = 1;
    std::deque<std::string> wanted;
    const auto hear = [&] {
        static std::vector<char> heard(40'000);
        for (ssize_t count = 0;
             host.valid() && (count = ::recv(host.number(), heard.data(), heard.size(), 0)) >= 0;) {
            const std::string word{heard.data(), static_cast<size_t>(count)};
            must(!word.empty());
            while (!wanted.empty() && wanted.front() != word) {
                must(plan.drawn() || was_away);
                wanted.pop_front();
            }
            must(!wanted.empty());
            wanted.pop_front();
        }
    };
    const auto serve = [&] {
        for (int turn = 0; turn < 20; ++turn) {
            if (relay.deadline() != sys::never) {
                now = std::max(now, relay.deadline());
                relay.expire(now);
            }
            relay.on_ready(now);
            hear();
        }
    };
    while (!input.empty()) {
        const uint8_t step = input.byte();
        if (step < 0x08) {
            plan.draw(input, calls);
        } else if (step < 0x0c) {
            host.reset();
            ::unlink(host_path.c_str());
            was_away = true;
        } else if (step < 0x10) {
            if (!host.valid()) {
                ::unlink(host_path.c_str());
                host = bound_at(host_path);
            }
        } else if (step < 0x18) {
            serve();
        } else if (step < 0x20) {
            relay.on_ready(now); // the host does not read
        } else {
            const std::string text{input.bytes(step)};
            if (send_to(relay_path, text) && !filtered(text).empty()) {
                wanted.push_back(filtered(text));
            }
        }
    }
    plan.stop();
    if (!host.valid()) {
        ::unlink(host_path.c_str());
        host = bound_at(host_path);
    }
    serve();
    must(wanted.empty() || plan.drawn() || was_away);
    must(!relay.holds_message() && relay.deadline() == sys::never);
    return 0;
}
