// NotifyRelay: sd_notify messages from the container to the host's service manager, of which only
// harmless ones pass (contract.md 3.5; the protocol is sd_notify(3)'s). A host socket that is gone
// for a moment costs the messages of that moment and nothing more.
#pragma once

#include "base/text.h"
#include "sys/diag.h"
#include "sys/poller.h"

namespace monitor {

// The lines of `datagram` that may pass, joined by LF, into `sink`.
void put_allowed_notices(base::TextSink& sink, std::string_view datagram);

class NotifyRelay {
  public:
    NotifyRelay(sys::Poller& poller, sys::Diag& diag) : poller_{poller}, diag_{diag} {}

    // Binds `notify/notify.sock` in the bundle; `host` is the path of the host's socket.
    base::Result<void> open(const char* bundle, const char* host);

    // Relays what has come, some messages at a time. `buffer` is scratch space.
    void on_ready(base::MutableBytes buffer);

  private:
    void forward(std::string_view notices);

    sys::Poller& poller_;
    sys::Diag& diag_;
    sys::Watch socket_;
    const char* host_ = nullptr;
};

} // namespace monitor
