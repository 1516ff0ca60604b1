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

void Clients::accept_waiting(Instant now) {
    for (size_t i = 0; i < clients_max && listener_.valid() && accept_one(now); ++i) {
    }
}

// False when nobody waits, or nobody can be taken in now.
bool Clients::accept_one(Instant now) {
    Result<sys::Fd> accepted = sys::accept_one(listener_.fd());
    if (!accepted) {
        const int code = accepted.error().code;
        if (code != EAGAIN && code != EINTR && code != ECONNABORTED) {
            // The connection waits in the backlog; asking at once would spin. Mostly there are no
            // more descriptors; a security module may say anything.
            diag_.warning("Cannot accept an attach client now", accepted.error());
            accept_again_at_ = now + accept_retry_ms;
            settle_listener();
        }
        return false;
    }
    Client* const client = free_slot();
    if (client == nullptr) {
        diag_.warning("Too many attach clients, refusing one");
        ++counters_.clients_dropped;
        return true;
    }
    *client = Client{};
    client->watch = sys::Watch{poller_,
                               sys::Source::attach_client,
                               static_cast<uint8_t>(client - clients_.data()),
                               std::move(*accepted)};
    client->segment = static_cast<uint8_t>(segment_count_);
    ++count_;
    ++counters_.clients_ever;
    settle(*client);
    return true;
}

// When all slots are taken, one whose client has gone and only has input left is as good as free.
Clients::Client* Clients::free_slot() {
    for (Client& client : clients_) {
        if (!client.watch.valid()) {
            return &client;
        }
    }
    for (Client& client : clients_) {
        if (client.gone) {
            drop(client);
            return &client;
        }
    }
    return nullptr;
}

void Clients::settle_listener() {
    if (listener_.valid()) {
        (void)listener_.want(accept_again_at_ == sys::never ? EPOLLIN : sys::Watch::nothing);
    }
}

void Clients::on_client_ready(uint8_t slot, uint32_t mask, Instant now) {
    Client& client = clients_[slot];
    const bool hung_up = (mask & (EPOLLHUP | EPOLLERR)) != 0;
    if (client.owed && ((mask & EPOLLOUT) != 0 || hung_up)) {
        send_owed(client, now);
    }
    if (client.reading && input_.is_free() && ((mask & EPOLLIN) != 0 || hung_up)) {
        receive(client);
    } else if (client.reading && hung_up) {
        notice_hang_up(client);
    }
    if (!client.reading && (!client.writing || hung_up)) {
        drop(client);
        return;
    }
    settle(client);
}

void Clients::receive(Client& client) {
    const Result<Moved> moved = sys::receive_record(client.watch.fd(), input_.room());
    if (moved && moved->state == Moved::State::some) {
        input_.received(moved->count);
        return;
    }
    // ECONNRESET: the peer closed without having read all. That is told once, in front of what it
    // has sent before.
    if (moved ? moved->state == Moved::State::ended : moved.error().code != ECONNRESET) {
        client.reading = false;
        input_.end_of_client();
    }
}

// A client has closed while its input cannot be taken. With nothing left to read it is at its end;
// otherwise it waits, unwatched, for its turn.
void Clients::notice_hang_up(Client& client) {
    const Result<Moved> next = sys::peek_record(client.watch.fd());
    if (next && next->state == Moved::State::ended) {
        client.reading = false;
        input_.end_of_client();
        return;
    }
    client.gone = true;
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
            settle_or_drop(client);
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
            // It reads no more; what it has typed is still taken. Other refusals, such as a lack of
            // memory, cannot be waited for.
            const int code = sent.error().code;
            client.writing = false;
            client.reading = client.reading && (code == EPIPE || code == ECONNRESET);
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

void Clients::settle_or_drop(Client& client) {
    if (client.reading || client.writing) {
        settle(client);
    } else {
        drop(client);
    }
}

void Clients::settle(Client& client) {
    uint32_t mask = sys::Watch::nothing;
    if (client.owed) {
        mask |= EPOLLOUT;
    }
    if (client.reading && input_.is_free()) {
        mask |= EPOLLIN;
    } else if (!client.gone) {
        mask |= sys::Watch::hang_up;
    }
    if (const auto wanted = client.watch.want(mask); !wanted) {
        diag_.warning("Cannot watch an attach client, dropping it", wanted.error());
        ++counters_.clients_dropped;
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
        if (stall_deadline(client) > now) {
            continue;
        }
        // The kernel tells of room only once most of it is free; there may be some all the same.
        send_owed(client, now);
        if (stall_deadline(client) <= now) {
            diag_.warning("Dropping an attach client that takes no output");
            ++counters_.clients_dropped;
            drop(client);
        } else {
            settle_or_drop(client);
        }
    }
}

// A socket that is closed with unread input gives its peer an error in front of the output that it
// has not read yet.
void Clients::discard_input(const Client& client) {
    constexpr int packets_max = 256; // a client may go on typing
    for (int i = 0; i < packets_max; ++i) {
        const Result<Moved> moved = sys::receive_record(client.watch.fd(), input_.room());
        if (!moved || moved->state != Moved::State::some) {
            return;
        }
    }
}

void Clients::close_served() {
    listener_.close();
    for (Client& client : clients_) {
        if (client.watch.valid() && !client.owed) {
            discard_input(client);
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
    // While the log was waited for nobody was served.
    const Instant begin = sys::monotonic_ms();
    for (Client& client : clients_) {
        client.stalled_since = begin;
    }
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
        // Without memory to wait with, all are tried every now and then.
        const bool is_blind = sys::poll(waiting.data(), count, timeout_ms) < 0 && errno != EINTR;
        if (is_blind) {
            const timespec pause{.tv_sec = 0, .tv_nsec = 100'000'000};
            (void)sys::nanosleep(&pause, nullptr);
        }
        const Instant later = sys::monotonic_ms();
        for (size_t i = 0; i < count; ++i) {
            if (waiting[i].revents == 0 && !is_blind) {
                continue;
            }
            send_owed(*who[i], later);
            if (!who[i]->owed) {
                discard_input(*who[i]);
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
