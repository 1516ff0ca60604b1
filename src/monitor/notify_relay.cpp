#include "monitor/notify_relay.h"

#include "base/scan.h"
#include "sys/calls.h"
#include "sys/io.h"
#include "sys/socket.h"

#include <cerrno>

#include <limits.h>
#include <sys/un.h>

namespace monitor {

using base::Result;
using base::Text;
using sys::Fd;
using sys::Moved;

namespace {

constexpr mode_t notify_mode = 0777; // the container's processes run as anybody
constexpr int datagrams_max = 16;    // in a turn

bool starts_with(std::string_view text, std::string_view start) {
    return text.size() >= start.size() && std::string_view{text.data(), start.size()} == start;
}

// What the host's service manager may hear from inside a container. MAINPID, FDSTORE, watchdog
// settings and the like would let the container speak for others.
bool is_allowed(std::string_view notice) {
    // A switch-like chain and not a table: a table of texts would need relocations.
    return notice == "READY=1" || notice == "RELOADING=1" || notice == "STOPPING=1" ||
           notice == "WATCHDOG=1" || notice == "WATCHDOG=trigger" ||
           starts_with(notice, "STATUS=") || starts_with(notice, "ERRNO=") ||
           starts_with(notice, "BUSERROR=") || starts_with(notice, "MONOTONIC_USEC=");
}

} // namespace

void put_allowed_notices(base::TextSink& sink, std::string_view datagram) {
    datagram = {datagram.data(), std::min(datagram.find('\0'), datagram.size())};
    while (!datagram.empty()) {
        const size_t end = std::min(datagram.find_first_of("\r\n"), datagram.size());
        const std::string_view notice{datagram.data(), end};
        datagram.remove_prefix(std::min(end + 1, datagram.size()));
        if (!is_allowed(notice)) {
            continue;
        }
        if (sink.size() != 0) {
            sink.put('\n');
        }
        sink.put(notice);
    }
}

Result<void> NotifyRelay::open(const char* bundle, const char* host) {
    host_ = host;
    Text<PATH_MAX> directory;
    directory.put(bundle).put("/notify");
    const Fd at = TRY(sys::open_at(sys::working_directory(),
                                   directory.c_str(),
                                   O_PATH | O_DIRECTORY,
                                   0,
                                   "open notify directory"));
    Fd socket = TRY(sys::bind_in(at, "notify.sock", sys::SocketKind::datagram, notify_mode));
    socket_ = sys::Watch{poller_, sys::Source::notify, 0, std::move(socket)};
    return socket_.want(EPOLLIN);
}

void NotifyRelay::on_ready(sys::Instant now) {
    for (int i = 0; i < datagrams_max && !holds_message(); ++i) {
        const Result<Moved> moved = sys::receive_record(socket_.fd(), datagram_);
        if (!moved) {
            wait(now); // it stays readable
            return;
        }
        if (moved->state == Moved::State::would_block) {
            return;
        }
        put_allowed_notices(notices_, base::text_of(datagram_.first(moved->count)));
        if (holds_message()) {
            forward(now);
        }
    }
}

void NotifyRelay::expire(sys::Instant now) {
    if (retry_at_ > now) {
        return;
    }
    if (holds_message()) {
        forward(now);
        return;
    }
    retry_at_ = sys::never;
    (void)socket_.want(EPOLLIN);
}

void NotifyRelay::wait(sys::Instant now) {
    retry_at_ = now + retry_ms;
    (void)socket_.want(sys::Watch::nothing);
}

void NotifyRelay::forward(sys::Instant now) {
    const Result<Moved> sent = send();
    const bool is_full =
        sent ? sent->state == Moved::State::would_block : sent.error().code == EAGAIN; // of connect
    if (is_full) {
        wait(now);
        return;
    }
    retry_at_ = sys::never;
    (void)socket_.want(EPOLLIN);
    if (!sent) {
        diag_.warning("Failed to relay an sd_notify message, ignoring", sent.error());
    }
    notices_.clear();
}

// A new socket each time: messages are rare, and a connection kept would cost memory for ever.
Result<Moved> NotifyRelay::send() const {
    const Fd socket = TRY(sys::make_socket(sys::SocketKind::datagram));
    std::string_view host{host_};
    if (host.size() >= sizeof(sockaddr_un::sun_path)) {
        host = {host.data(), sizeof(sockaddr_un::sun_path) - 1}; // cut, as conmon does
    }
    TRY(sys::connect_path(socket, host));
    return sys::write_some(socket, base::bytes_of(notices_.view()));
}

} // namespace monitor
