// Journal: the container's output as entries of the systemd journal, by its native protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram per entry, of fields that are either
//
//     NAME=VALUE\n    or, for a value of any bytes,    NAME\n <length: 8 bytes, little endian>
//     VALUE\n
//
// and, if the datagram would be too large, an empty one that carries a sealed memfd with the
// fields. The fields and their order are conmon's (contract.md 4.4):
//
//     MESSAGE                    the line with its newline, without a "<N>" in front of it
//     CONTAINER_ID_FULL
//     PRIORITY                   N; else 6 for the standard output, 3 for the standard error
//     CONTAINER_ID               the first 12 characters of the id
//     CONTAINER_TAG              if there is one
//     CONTAINER_NAME             if there is one
//     SYSLOG_IDENTIFIER          the tag, else the name, else CONTAINER_ID
//     CONTAINER_PARTIAL_MESSAGE  "true", for a part of a line that is not its end
//     labels
//
// A line of up to `record_max` bytes is one entry in whatever pieces it comes; a longer one is
// split there. What has no newline yet is kept here, one line per stream, and becomes an entry at
// the end. All entries of a line have its priority.
//
// The journal is somebody else's process. While it takes nothing the container waits, as behind a
// full pipe, but only for a while; then entries are dropped and counted until it takes one again,
// which is said once when it begins and once, with numbers, when it ends. At the end of the
// container the wait is shorter. A journal that was restarted is connected to again; where there
// is none, nothing is lost that anybody could have read.
#pragma once

#include "record/counters.h"
#include "record/k8s_frame.h"
#include "record/loss.h"
#include "record/patience.h"
#include "record/stream.h"
#include "sys/archive.h"
#include "sys/clock.h"
#include "sys/diag.h"
#include "sys/fd.h"

#include <array>

#include <sys/socket.h>
#include <sys/uio.h>

namespace record {

class Journal {
  public:
    static constexpr size_t record_max_limit = 65'536;
    static constexpr size_t piece_max = record_max_limit + 1; // of one keep() with Patience::later
    static constexpr size_t fields_max = 262'144;             // two arguments of any length

    struct Settings {
        bool is_on = false;
        std::string_view id = {};
        std::string_view name = {}; // without data: there is none; so for the tag
        std::string_view tag = {};
        std::span<const char* const> labels = {}; // "NAME=VALUE" each
        const char* name_space = nullptr;         // nullptr: the default journal
        bool marks_parts = true;                  // with CONTAINER_PARTIAL_MESSAGE
        bool counts_records = true;               // nobody else does
    };

    // What is large. No page of it is used unless the journal is.
    struct Storage {
        alignas(4096)
            std::array<std::array<std::byte, record_max_limit + piece_max>, stream_count> held;
        std::array<char, fields_max> fields;
    };

    // Only stores. `storage` need not be cleared. `record_max` is at most record_max_limit.
    Journal(const Settings& settings,
            size_t record_max,
            Storage& storage,
            Counters& counters,
            sys::Diag& diag)
        : settings_{settings}, storage_{storage}, counters_{counters}, diag_{diag},
          record_max_{record_max} {}

    // Prepares the fields. E2BIG: they are longer than fields_max. The journal itself is sought
    // when there is something to send.
    base::Result<void> open();

    [[nodiscard]] bool is_on() const { return settings_.is_on; }

    // Takes all of `bytes`, at most piece_max unless patience is `now`; not to be called with
    // Patience::later while is_waiting().
    void keep(Stream stream, base::Bytes bytes, Patience patience, sys::Instant now);

    // The journal is full: what it is to get next is kept until expire(). Watch socket() for
    // EPOLLOUT.
    [[nodiscard]] bool is_waiting() const { return stalled_at_ != sys::never; }
    [[nodiscard]] sys::FdRef socket() const { return socket_; }

    // When expire() is to be called at the latest.
    [[nodiscard]] sys::Instant deadline() const {
        return is_waiting() ? stalled_at_ + stall_max_ms : sys::never;
    }

    // Tries again, and gives up at the deadline.
    void expire(sys::Instant now);

    // Sends what is kept as it is, says what was lost, and lets the journal go.
    void finish(sys::Instant now);

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    struct Line {
        size_t size = 0;   // of what is held
        char priority = 0; // of the line that this goes on with; 0: this is a line's beginning
    };

    void put(std::string_view text);
    void put_field(std::string_view name, std::string_view value);
    void pump(Stream stream, Tail tail, Patience patience, sys::Instant now);
    bool deliver(base::Bytes content, Tag tag, char priority, Patience patience, sys::Instant now);
    base::Result<void> send_entry(base::Bytes content, Tag tag, char priority);
    base::Result<void> send_memfd(std::span<const iovec> parts);
    base::Result<void> send(const msghdr& message);
    void give_up(const base::Error& error);

    Settings settings_;
    Storage& storage_;
    Counters& counters_;
    sys::Diag& diag_;
    sys::Fd socket_;
    size_t record_max_;
    size_t fields_size_ = 0;
    size_t priority_at_ = 0; // among the fields: its digit,
    size_t mark_at_ = 0;     // CONTAINER_PARTIAL_MESSAGE,
    size_t labels_at_ = 0;   // and what comes behind that
    std::array<Line, stream_count> lines_;
    Loss loss_;
    sys::Instant stalled_at_ = sys::never; // since then the journal has been full
    bool in_trouble_ = false;              // entries are being lost, which has been said
    // What follows is not carried.
    bool gave_up_waiting_ = false; // no more is waited for until an entry is taken
    LastWait last_wait_;
};

} // namespace record
