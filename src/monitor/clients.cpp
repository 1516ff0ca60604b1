#include "monitor/clients.h"

#include "sys/calls.h"
#include "sys/io.h"
#include "sys/socket.h"

#include <algorithm>
#include <cerrno>
#include <climits>

namespace monitor {

using base::Bytes;
using base::Result;
using record::Stream;
using sys::Instant;
using sys::Moved;

namespace {

constexpr mode_t attach_mode = 0700;

// The stream byte in front of every packet.
constexpr std::byte tag_of(Stream stream) {
    return stream == Stream::standard_output ? std::byte{2} : std::byte{3};
}

} // namespace

Result<void> Clients::listen(sys::FdRef directory) {
    sys::Fd socket = TRY(sys::listen_in(directory, "attach", sys::SocketKind::record, attach_mode));
    listener_ = sys::Watch{poller_, sys::Source::attach_listener, 0, std::move(socket)};
    return listener_.want(EPOLLIN);
}

void Clients::on_listener_ready(Instant now) {
    Result<sys::Fd> accepted = sys::accept_one(listener_.fd());
    if (!accepted) {
        if (accepted.error().code == EMFILE || accepted.error().code == ENFILE ||
            accepted.error().code == ENOMEM || accepted.error().code == ENOBUFS) {
            // The connection waits in the backlog; asking at once would spin.
            diag_.warning("Cannot accept an attach client now", accepted.error());
            accept_again_at_ = now + accept_retry_ms;
            settle_listener();
        }
        return;
    }
    for (size_t slot = 0; slot < clients_.size(); ++slot) {
        Client& client = clients_[slot];
        if (!client.watch.valid()) {
            client = Client{};
            client.watch = sys::Watch{poller_,
                                      sys::Source::attach_client,
                                      static_cast<uint8_t>(slot),
                                      std::move(*accepted)};
            client.segment = static_cast<uint8_t>(segment_count_);
            ++count_;
            settle(client);
            return;
        }
    }
    diag_.warning("Too many attach clients, refusing one");
}

void Clients::settle_listener() {
    if (listener_.valid()) {
        (void)listener_.want(accept_again_at_ == sys::never ? EPOLLIN : sys::Watch::nothing);
    }
}

void Clients::on_client_ready(uint8_t slot, uint32_t mask, Instant now) {
    Client& client = clients_[slot];
    if (client.owed && (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        send_owed(client, now);
    }
    if (client.reading && (mask & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive(client);
    }
    // HUP: the peer has closed both directions.
    if (!client.reading && (!client.writing || (mask & (EPOLLHUP | EPOLLERR)) != 0)) {
        drop(client);
        return;
    }
    settle(client);
}

void Clients::receive(Client& client) {
    if (!input_.is_free()) {
        return;
    }
    const Result<Moved> moved = sys::receive_record(client.watch.fd(), input_.room());
    if (moved && moved->state == Moved::State::some) {
        input_.received(moved->count);
        return;
    }
    if (!moved || moved->state == Moved::State::ended) {
        client.reading = false;
        input_.end_of_client();
    }
}

void Clients::offer(Stream stream, Bytes bytes, Instant now) {
    if (count_ == 0 || bytes.empty()) {
        return;
    }
    CHECK(segment_count_ < segments_.size());
    segments_[segment_count_++] = {.tag = tag_of(stream), .bytes = bytes};
    // All are owed before the first is served: when nobody is owed, the segments are forgotten.
    for (Client& client : clients_) {
        if (client.watch.valid() && client.writing && !client.owed) {
            client.owed = true;
            client.stalled_since = now;
            ++owing_count_;
        }
    }
    if (owing_count_ == 0) {
        segment_count_ = 0;
        return;
    }
    for (Client& client : clients_) {
        if (client.owed) {
            send_owed(client, now);
            settle(client);
        }
    }
}

void Clients::send_owed(Client& client, Instant now) {
    while (client.segment < segment_count_) {
        const Segment& segment = segments_[client.segment];
        const Bytes rest = segment.bytes.subspan(client.offset);
        const Result<Moved> sent = sys::send_record(
            client.watch.fd(), segment.tag, rest.first(std::min(rest.size(), payload_max)));
        if (!sent) {
            // It reads no more. What it has typed is still taken.
            client.writing = false;
            break;
        }
        if (sent->state == Moved::State::would_block) {
            return;
        }
        client.stalled_since = now;
        client.offset += static_cast<uint32_t>(sent->count);
        if (client.offset == segment.bytes.size()) {
            client.offset = 0;
            ++client.segment;
        }
    }
    owes_nothing(client);
}

void Clients::owes_nothing(Client& client) {
    client.owed = false;
    client.offset = 0;
    client.segment = static_cast<uint8_t>(segment_count_);
    if (--owing_count_ == 0) {
        segment_count_ = 0;
        for (Client& each : clients_) {
            each.segment = 0;
        }
    }
}

void Clients::settle(Client& client) {
    uint32_t mask = sys::Watch::nothing;
    if (client.owed) {
        mask |= EPOLLOUT;
    }
    if (client.reading && input_.is_free()) {
        mask |= EPOLLIN;
    }
    if (!client.reading) {
        // While it is still read, its hang-up shows as the end of its input, in turn.
        mask |= sys::Watch::hang_up;
    }
    if (const auto wanted = client.watch.want(mask); !wanted) {
        diag_.warning("Cannot watch an attach client, dropping it", wanted.error());
        drop(client);
    }
}

void Clients::resume_input() {
    if (count_ == 0) {
        return;
    }
    for (Client& client : clients_) {
        if (client.watch.valid()) {
            settle(client);
        }
    }
}

void Clients::drop(Client& client) {
    client.watch.close();
    --count_;
    if (client.owed) {
        owes_nothing(client);
    }
    if (accept_again_at_ != sys::never) {
        accept_again_at_ = sys::never;
        settle_listener();
    }
}

Instant Clients::stall_deadline(const Client& client) const {
    return stall_ms_ != 0 && client.owed ? client.stalled_since + stall_ms_ : sys::never;
}

Instant Clients::deadline() const {
    Instant earliest = accept_again_at_;
    if (owing_count_ != 0 && stall_ms_ != 0) {
        for (const Client& client : clients_) {
            earliest = std::min(earliest, stall_deadline(client));
        }
    }
    return earliest;
}

void Clients::expire(Instant now) {
    if (accept_again_at_ <= now) {
        accept_again_at_ = sys::never;
        settle_listener();
    }
    if (owing_count_ == 0 || stall_ms_ == 0) {
        return;
    }
    for (Client& client : clients_) {
        if (stall_deadline(client) <= now) {
            diag_.warning("Dropping an attach client that takes no output");
            drop(client);
        }
    }
}

void Clients::close_served() {
    listener_.close();
    for (Client& client : clients_) {
        if (client.watch.valid() && !client.owed) {
            drop(client);
        }
    }
}

void Clients::close_all() {
    listener_.close();
    for (Client& client : clients_) {
        if (client.watch.valid()) {
            drop(client);
        }
    }
}

void Clients::serve_to_the_end() {
    while (owing_count_ != 0) {
        std::array<pollfd, clients_max> waiting;
        std::array<Client*, clients_max> who;
        size_t count = 0;
        for (Client& client : clients_) {
            if (client.owed) {
                waiting[count] = {
                    .fd = client.watch.fd().number(), .events = POLLOUT, .revents = 0};
                who[count++] = &client;
            }
        }
        const Instant now = sys::monotonic_ms();
        const Instant next = deadline();
        const int timeout_ms =
            next == sys::never
                ? -1
                : static_cast<int>(std::clamp(next - now, Instant{0}, Instant{INT_MAX}));
        (void)sys::poll(waiting.data(), count, timeout_ms);
        const Instant later = sys::monotonic_ms();
        for (size_t i = 0; i < count; ++i) {
            if (waiting[i].revents == 0) {
                continue;
            }
            send_owed(*who[i], later);
            if (!who[i]->owed) {
                drop(*who[i]);
            }
        }
        expire(later);
    }
}

size_t Clients::put_fds(std::span<sys::FdRef> into) const {
    size_t count = 0;
    for (const Client& client : clients_) {
        if (client.watch.valid()) {
            into[count++] = client.watch.fd();
        }
    }
    return count;
}

} // namespace monitor
