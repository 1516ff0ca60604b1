// The caller's ends of the monitor's pipes and sockets: the sync, start and attach pipes, the
// attach socket, and the fifos ctl and winsz.

#pragma once

#include "support/handle.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace support {

// What callers make their pipes of: Podman SEQPACKET pairs, CRI-O STREAM pairs and pipes.
enum class Kind { seqpacket, stream, pipe };

// Two connected ends; `ours` stays with the test. For Kind::pipe `direction` says which is which.
struct Channel {
    enum class Direction { to_us, to_them };

    static Channel make(Kind kind, Direction direction);

    Handle ours;
    Handle theirs;
};

// Reads what the monitor sends, message by message and line by line.
class Inbox {
  public:
    Inbox() = default;
    explicit Inbox(Handle from) : from_(std::move(from)) {}

    // The next line without its newline; nothing at the end of the stream. Throws TimedOut; throws
    // when the stream ends inside a line.
    std::optional<std::string> line(const Deadline& deadline = Deadline(soon));
    // All lines up to the end of the stream.
    std::vector<std::string> rest(const Deadline& deadline = Deadline(soon));
    // All bytes up to the end.
    std::string bytes(const Deadline& deadline = Deadline(soon));
    // True once the other side has closed (and nothing is left to read), without waiting.
    bool ended_now();
    // What each read() gave so far: on a SEQPACKET socket one entry for each write of the sender.
    const std::vector<std::string>& reads() const { return reads_; }
    int fd() const { return from_.get(); }
    void close() { from_.reset(); }

  private:
    bool read_some(const Deadline& deadline);

    Handle from_;
    std::string held_;
    std::vector<std::string> reads_;
    bool ended_ = false;
};

// One client of the attach socket.
class AttachClient {
  public:
    struct Packet {
        char stream = 0;
        std::string bytes;
    };

    // Connects to `directory`/attach, as Podman does, through a descriptor of the directory; waits
    // while the queue of connections is full.
    static AttachClient connect(const std::string& directory);
    // The same; nothing when the queue is full.
    static std::optional<AttachClient> try_connect(const std::string& directory);

    // The next packet; nothing when the monitor has closed.
    std::optional<Packet> receive(const Deadline& deadline = Deadline(soon));
    // All payload of both streams until the monitor closes.
    struct Output {
        std::string out;
        std::string err;
        size_t longest = 0;
    };
    Output receive_all(const Deadline& deadline = Deadline(soon));
    // Receives until the payload of stdout contains `text`; gives all of it.
    std::string receive_until(std::string_view text, const Deadline& deadline = Deadline(soon));
    // Sends one packet and waits for room; throws TimedOut.
    void send(std::string_view bytes, const Deadline& deadline = Deadline(soon));
    // False when there is no room now.
    bool try_send(std::string_view bytes);
    void end_input();
    void close() { socket_.reset(); }
    int fd() const { return socket_.get(); }

  private:
    Handle socket_;
    std::string out_;
};

// Writes to a fifo that must have a reader already, as Podman does (O_NONBLOCK), and waits while
// it is full. One write() for each 4,096 bytes.
void write_fifo(const std::string& path,
                std::string_view bytes,
                const Deadline& deadline = Deadline(soon));

} // namespace support
