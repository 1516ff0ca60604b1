// Console: how the terminal comes to us. The runtime connects to a socket of ours and sends the
// master side of the pty that it made (the OCI runtimes' console-socket protocol).
#pragma once

#include "base/text.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/poller.h"
#include "sys/tty.h"

#include <optional>

#include <sys/un.h>

namespace monitor {

class Console {
  public:
    Console(sys::Poller& poller, sys::Diag& diag) : poller_{poller}, diag_{diag} {}

    // Makes the socket `conmon-term.XXXXXX` in `directory` (TMPDIR, or /tmp).
    base::Result<void> listen(std::string_view directory);

    // The socket's path, for the runtime; nullptr without a terminal.
    [[nodiscard]] const char* path() { return path_.size() == 0 ? nullptr : path_.c_str(); }

    // The runtime has connected.
    void on_listener_ready();

    // The runtime has sent something. The terminal, non-blocking and with newlines translated, for
    // the caller to own; nothing if this was no terminal, which is said.
    std::optional<sys::Fd> on_sender_ready();

    // The size that the terminal gets, now or when it is there.
    void resize(sys::WindowSize size);

    // Gives the terminal the size that was asked for before it came. Borrowed for later sizes.
    void adopt(sys::FdRef terminal);

    [[nodiscard]] bool has_terminal() const { return terminal_.valid(); }

    // Removes the socket's file, if the runtime has not made use of it.
    void close();

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    sys::Poller& poller_;
    sys::Diag& diag_;
    sys::Watch listener_;
    sys::Watch sender_;
    sys::FdRef terminal_;
    std::optional<sys::WindowSize> size_;
    base::Text<sizeof(sockaddr_un::sun_path)> path_;
};

} // namespace monitor
