// Pipes, socket pairs, and a SEQPACKET client.

#include "support/wire.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace support {

namespace {

void wait_writable(int fd, const Deadline& deadline, const char* what) {
    pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
    if (::poll(&entry, 1, deadline.left_ms()) == 0) {
        throw TimedOut(std::string(what) + " stays full");
    }
}

} // namespace

Channel Channel::make(Kind kind, Direction direction) {
    int ends[2];
    const int failed =
        kind == Kind::pipe
            ? ::pipe2(ends, O_CLOEXEC)
            : ::socketpair(AF_UNIX,
                           (kind == Kind::seqpacket ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC,
                           0,
                           ends);
    if (failed != 0) {
        throw Broken("pipe or socketpair");
    }
    if (direction == Direction::to_them) {
        std::swap(ends[0], ends[1]);
    }
    Channel channel;
    channel.ours = Handle(ends[0]);
    channel.theirs = Handle(ends[1]);
    return channel;
}

bool Inbox::read_some(const Deadline& deadline) {
    if (ended_) {
        return false;
    }
    if (!wait_readable(from_.get(), deadline)) {
        throw TimedOut("neither data nor the end of the pipe; so far: " + held_.substr(0, 400));
    }
    std::string block(1 << 17, '\0');
    const ssize_t n = ::read(from_.get(), block.data(), block.size());
    if (n < 0 && errno != ECONNRESET) {
        throw Broken("read from a pipe");
    }
    if (n <= 0) {
        ended_ = true;
        return false;
    }
    block.resize(static_cast<size_t>(n));
    held_ += block;
    reads_.push_back(block);
    return true;
}

std::optional<std::string> Inbox::line(const Deadline& deadline) {
    while (true) {
        if (const size_t end = held_.find('\n'); end != std::string::npos) {
            std::string line = held_.substr(0, end);
            held_.erase(0, end + 1);
            return line;
        }
        if (!read_some(deadline)) {
            if (!held_.empty()) {
                throw std::runtime_error("the stream ends inside a line: " + held_);
            }
            return std::nullopt;
        }
    }
}

std::vector<std::string> Inbox::rest(const Deadline& deadline) {
    std::vector<std::string> lines;
    while (auto line = this->line(deadline)) {
        lines.push_back(*line);
    }
    return lines;
}

std::string Inbox::bytes(const Deadline& deadline) {
    while (read_some(deadline)) {
    }
    return std::exchange(held_, {});
}

bool Inbox::ended_now() {
    while (!ended_ && wait_readable(from_.get(), Deadline(milliseconds(0)))) {
        read_some(Deadline(milliseconds(0)));
    }
    return ended_;
}

std::optional<AttachClient> AttachClient::try_connect(const std::string& directory) {
    const Handle dir(::open(directory.c_str(), O_PATH | O_CLOEXEC));
    AttachClient client;
    client.socket_ = Handle(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = "/proc/self/fd/" + std::to_string(dir.get()) + "/attach";
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (dir.is_open() && client.socket_.is_open() &&
        ::connect(client.socket_.get(),
                  reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) == 0) {
        return client;
    }
    if (errno == EAGAIN) {
        return std::nullopt;
    }
    throw Broken("connect to " + directory + "/attach");
}

AttachClient AttachClient::connect(const std::string& directory) {
    std::optional<AttachClient> client;
    if (!eventually([&] { return (client = try_connect(directory)).has_value(); })) {
        throw TimedOut("the queue of attach connections stays full");
    }
    return std::move(*client);
}

std::optional<AttachClient::Packet> AttachClient::receive(const Deadline& deadline) {
    if (!wait_readable(socket_.get(), deadline)) {
        throw TimedOut("no packet on the attach socket");
    }
    std::string block(1 << 17, '\0');
    const ssize_t n = ::read(socket_.get(), block.data(), block.size());
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        return std::nullopt;
    }
    if (n < 0) {
        throw Broken("read from the attach socket");
    }
    if (block[0] != 2 && block[0] != 3) {
        throw std::runtime_error("a packet for stream " + std::to_string(block[0]));
    }
    return Packet{.stream = block[0], .bytes = block.substr(1, static_cast<size_t>(n) - 1)};
}

AttachClient::Output AttachClient::receive_all(const Deadline& deadline) {
    Output all;
    all.out = std::exchange(out_, {});
    while (auto packet = receive(deadline)) {
        (packet->stream == 2 ? all.out : all.err) += packet->bytes;
        all.longest = std::max(all.longest, packet->bytes.size());
    }
    return all;
}

std::string AttachClient::receive_until(std::string_view text, const Deadline& deadline) {
    while (out_.find(text) == std::string::npos) {
        const auto packet = receive(deadline);
        if (!packet) {
            throw std::runtime_error("the attach stream ended after: " + out_.substr(0, 400));
        }
        if (packet->stream == 2) {
            out_ += packet->bytes;
        }
    }
    return out_;
}

bool AttachClient::try_send(std::string_view bytes) {
    const ssize_t n =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        throw Broken("send to the attach socket");
    }
    return n >= 0;
}

void AttachClient::send(std::string_view bytes, const Deadline& deadline) {
    while (!try_send(bytes)) {
        wait_writable(socket_.get(), deadline, "the attach socket");
    }
}

void AttachClient::end_input() {
    ::shutdown(socket_.get(), SHUT_WR);
}

void write_fifo(const std::string& path, std::string_view bytes, const Deadline& deadline) {
    const Handle fifo(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (!fifo.is_open()) {
        throw Broken("open " + path);
    }
    while (!bytes.empty()) {
        const ssize_t n = ::write(fifo.get(), bytes.data(), std::min<size_t>(bytes.size(), 4096));
        if (n >= 0) {
            bytes.remove_prefix(static_cast<size_t>(n));
        } else if (errno == EAGAIN) {
            wait_writable(fifo.get(), deadline, path.c_str());
        } else {
            throw Broken("write " + path);
        }
    }
}

} // namespace support
