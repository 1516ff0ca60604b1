#include "monitor/console.h"

#include "sys/calls.h"
#include "sys/file.h"
#include "sys/socket.h"

#include <cerrno>

namespace monitor {

using base::Result;
using sys::Fd;

namespace {

constexpr mode_t socket_mode = 0700;
constexpr int name_attempts = 100;

} // namespace

Result<void> Console::listen(std::string_view directory) {
    while (directory.size() > 1 && directory.back() == '/') {
        directory.remove_suffix(1);
    }
    for (int attempt = 0;; ++attempt) {
        path_.clear();
        path_.put(directory).put("/conmon-term.");
        sys::put_random_suffix(path_);
        if (path_.overflowed()) {
            path_.clear();
            return base::fail(ENAMETOOLONG, "name socket");
        }
        Fd socket = TRY(sys::make_socket(sys::SocketKind::stream));
        // The mode counts from the moment of binding.
        (void)sys::fchmod(socket.number(), socket_mode);
        const Result<void> bound = sys::bind_path(socket, path_.view());
        if (!bound) {
            if (bound.error().code == EADDRINUSE && attempt < name_attempts) {
                continue;
            }
            path_.clear();
            return bound;
        }
        TRY(sys::start_listening(socket));
        listener_ = sys::Watch{poller_, sys::Source::console_listener, 0, std::move(socket)};
        return listener_.want(EPOLLIN);
    }
}

void Console::on_listener_ready() {
    if (!listener_.valid()) {
        return;
    }
    Result<Fd> accepted = sys::accept_one(listener_.fd());
    if (!accepted) {
        if (accepted.error().code != EAGAIN) {
            diag_.warning("Failed to accept the console connection", accepted.error());
            close();
        }
        return;
    }
    close(); // one runtime, one connection
    sender_ = sys::Watch{poller_, sys::Source::console_sender, 0, std::move(*accepted)};
    if (const auto wanted = sender_.want(EPOLLIN); !wanted) {
        diag_.warning("Failed to watch the console connection", wanted.error());
    }
}

std::optional<Fd> Console::on_sender_ready() {
    if (!sender_.valid()) {
        return std::nullopt;
    }
    Result<Fd> terminal = sys::receive_fd(sender_.fd());
    if (!terminal) {
        if (terminal.error().code != EAGAIN) {
            diag_.warning("Failed to receive the console", terminal.error());
            sender_.close();
        }
        return std::nullopt;
    }
    sender_.close();
    if (const auto set = sys::translate_newlines(*terminal); !set) {
        diag_.warning("Failed to set up the console, ignoring", set.error());
    }
    if (const auto set = sys::set_nonblocking(*terminal); !set) {
        diag_.warning("Failed to set up the console", set.error());
        return std::nullopt;
    }
    return std::move(*terminal);
}

void Console::resize(sys::WindowSize size) {
    size_ = size;
    if (terminal_.valid()) {
        if (const auto set = sys::set_window_size(terminal_, size); !set) {
            diag_.warning("Failed to resize the terminal, ignoring", set.error());
        }
    }
}

void Console::adopt(sys::FdRef terminal) {
    terminal_ = terminal;
    if (size_) {
        resize(*size_);
    }
}

void Console::close() {
    if (listener_.valid()) {
        listener_.close();
        (void)sys::unlink(path_.c_str());
    }
}

} // namespace monitor
