// Clients: who is attached. A listening SEQPACKET socket and a fixed table of connections.
//
//     container output --offer--> segments --send--> each client, in packets of a stream byte
//                                                    and at most 8,192 bytes (contract.md 3.2)
//     client --packet--> Input
//
// What has been offered is not copied: it stays where it was read until every client has it, and
// meanwhile the container is not read (`owing`). That is lossless for whoever reads, however
// slowly, and costs nothing while waiting. At the end of the container, clients that are still owed
// something are handed to a lingerer (see linger.h).
#pragma once

#include "monitor/account.h"
#include "monitor/input.h"
#include "record/stream.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/poller.h"

#include <array>

namespace monitor {

class Clients {
  public:
    static constexpr size_t clients_max = 64;
    static constexpr size_t payload_max = 8192;

    // A client that takes nothing of what it is owed for `stall_ms` is dropped; 0: never.
    Clients(
        sys::Poller& poller, sys::Diag& diag, Counters& counters, Input& input, int64_t stall_ms)
        : poller_{poller}, diag_{diag}, counters_{counters}, input_{input}, stall_ms_{stall_ms} {}

    // Makes the socket `attach` in `directory`.
    base::Result<void> listen(sys::FdRef directory);

    // Takes in everybody who has connected by now.
    void accept_waiting(sys::Instant now);

    void on_client_ready(uint8_t slot, uint32_t mask, sys::Instant now);

    // Gives every client these bytes, which stay valid until nobody is owed anything, or until
    // move_owed.
    void offer(record::Stream stream, base::Bytes bytes, sys::Instant now);

    // Whether somebody has not yet got all that was offered.
    [[nodiscard]] bool owing() const { return owing_count_ != 0; }
    [[nodiscard]] size_t count() const { return count_; }

    // Input can be received again: clients that wait for that are served.
    void resume_input();

    [[nodiscard]] sys::Instant deadline() const;
    void expire(sys::Instant now);

    // Stops listening and drops every client that is owed nothing.
    void close_served();

    // Drops everybody.
    void close_all();

    // Serves whoever is owed something until each has it or is gone, blocking, without the poller:
    // the rest of the life of a lingerer.
    void serve_to_the_end();

    // The sockets that are still open, for whoever closes all others. Returns how many it put.
    size_t put_fds(std::span<sys::FdRef> into) const;

    // Puts the state aside, or takes it over (sys/archive.h). What has been offered lies in
    // `streams`.
    void carry(sys::Archive& archive, base::Bytes streams);

  private:
    struct Client {
        sys::Watch watch;
        sys::Instant stalled_since = 0;
        uint32_t offset = 0; // in the segment that is next for it
        uint8_t segment = 0; // index of that segment; segment_count_: owed nothing
        bool owed = false;   // counted in owing_count_
        bool reading = true; // its input has not ended
        bool writing = true; // it has not refused output
        bool gone = false;   // it has closed, and what it typed before is still to be read
    };

    struct Segment {
        std::byte tag{};
        base::Bytes bytes;
    };

    // A piece of each stream from before the start, at the start, and at the end; or a chunk in
    // flight, and at the end what was left in two pipes and in a terminal.
    static constexpr size_t segments_max = 8;
    static constexpr sys::Instant accept_retry_ms = 1000;

    bool accept_one(sys::Instant now);
    Client* free_slot();
    void send_owed(Client& client, sys::Instant now);
    void owes_nothing(Client& client);
    void receive(Client& client);
    void notice_hang_up(Client& client);
    void discard_input(const Client& client);
    void settle(Client& client);
    void settle_or_drop(Client& client);
    void drop(Client& client);
    void settle_listener();
    [[nodiscard]] sys::Instant stall_deadline(const Client& client) const;

    sys::Poller& poller_;
    sys::Diag& diag_;
    Counters& counters_;
    Input& input_;
    int64_t stall_ms_;
    sys::Watch listener_;
    sys::Instant accept_again_at_ = sys::never; // after descriptors ran out
    size_t count_ = 0;
    size_t owing_count_ = 0;
    size_t segment_count_ = 0;
    std::array<Segment, segments_max> segments_;
    std::array<Client, clients_max> clients_;
};

} // namespace monitor
