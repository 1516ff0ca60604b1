// NotifyRelay: sd_notify messages from the container to the host's service manager, of which only
// harmless ones pass (contract.md 3.5; the protocol is sd_notify(3)'s). A host socket that is gone
// for a moment costs the messages of that moment and nothing more.
#pragma once

#include "base/text.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/io.h"
#include "sys/poller.h"

namespace monitor {

// The lines of `datagram` that may pass, joined by LF, into `sink`.
void put_allowed_notices(base::TextSink& sink, std::string_view datagram);

class NotifyRelay {
  public:
    // The buffers outlive the part: for one datagram, and for what of it may pass.
    NotifyRelay(sys::Poller& poller,
                sys::Diag& diag,
                base::MutableBytes datagram,
                std::span<char> notices)
        : poller_{poller}, diag_{diag}, datagram_{datagram}, notices_{notices} {}

    // Binds `notify/notify.sock` in the bundle; `host` is the path of the host's socket.
    base::Result<void> open(const char* bundle, const char* host);

    // Relays what has come, some messages at a time.
    void on_ready(sys::Instant now);

    // A message that the host could not take yet, as its queue was full, is tried again, and so is
    // one that could not be received for lack of memory.
    [[nodiscard]] sys::Instant deadline() const { return retry_at_; }
    void expire(sys::Instant now);

    [[nodiscard]] bool holds_message() const { return notices_.size() != 0; }

    // Puts the state aside, or takes it over (sys/archive.h); `host` as in open().
    void carry(sys::Archive& archive, const char* host);

  private:
    static constexpr sys::Instant retry_ms = 50;

    void forward(sys::Instant now);
    void wait(sys::Instant now);
    [[nodiscard]] base::Result<sys::Moved> send() const;

    sys::Poller& poller_;
    sys::Diag& diag_;
    sys::Watch socket_;
    base::MutableBytes datagram_;
    base::BorrowedText notices_; // not empty: still to be sent
    sys::Instant retry_at_ = sys::never;
    const char* host_ = nullptr;
};

} // namespace monitor
