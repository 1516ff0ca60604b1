// Datagram sockets that a test reads: the host's end of sd_notify, and the machine's /dev/log, for
// what the monitor says once nobody reads its stderr.

#pragma once

#include "support/handle.h"

#include <string>

namespace support {

// A datagram socket at a path, which goes away with this object.
class Mailbox {
  public:
    explicit Mailbox(std::string path);
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;
    ~Mailbox();

    // The next datagram; throws TimedOut.
    std::string next(const Deadline& deadline = Deadline(soon));
    bool is_empty() const { return !wait_readable(socket_.get(), Deadline(milliseconds(0))); }

  private:
    std::string path_;
    Handle socket_;
};

// A /dev of the test's own, in a private mount namespace, with what a shell needs and a socket
// `log`, as long as this object lives. Needs privileges.
class SystemLog {
  public:
    // `directory` is created.
    explicit SystemLog(const std::string& directory);
    SystemLog(const SystemLog&) = delete;
    SystemLog& operator=(const SystemLog&) = delete;
    ~SystemLog();

    bool is_empty() const { return log_.is_empty(); }
    std::string next() { return log_.next(); }
    // Everything that is there now, one message a line.
    std::string drain();

  private:
    // Makes the directory what /dev is to be; its path.
    static const std::string& furnish(const std::string& directory);

    std::string directory_;
    Mailbox log_;
};

} // namespace support
