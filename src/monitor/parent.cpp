#include "monitor/parent.h"

#include "base/errno_text.h"
#include "base/json.h"
#include "base/scan.h"
#include "sys/calls.h"
#include "sys/environment.h"

#include <algorithm>
#include <cerrno>

namespace monitor {

using base::Text;
using sys::Fd;
using sys::FdRef;

namespace {

// Podman reads a SEQPACKET socket with a buffer of this size, and a longer packet loses its tail.
constexpr size_t packet_max = 4096;

// Each byte may become six ("\u00ff"); the frame around the text is short.
constexpr size_t line_max = report_text_max * 6 + 64;

std::string_view name_of(ReportKey key) {
    switch (key) {
    case ReportKey::data:
        return "data";
    case ReportKey::exit_code:
        return "exit_code";
    case ReportKey::pid:
        return "pid";
    }
    return {};
}

bool keeps_records(FdRef fd) {
    int type = 0;
    socklen_t length = sizeof type;
    return sys::getsockopt(fd.number(), SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           type == SOCK_SEQPACKET;
}

// A caller that lends a non-blocking pipe and does not read is waited for a little while.
bool await_room(FdRef pipe) {
    constexpr int patience_ms = 1000;
    pollfd full{.fd = pipe.number(), .events = POLLOUT, .revents = 0};
    return sys::poll(&full, 1, patience_ms) == 1 && (full.revents & POLLOUT) != 0;
}

// strtol of base 10 over the whole text, as conmon reads these; an empty text is 0.
std::optional<int> parse_fd_number(std::string_view text) {
    while (!text.empty() && (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))) {
        text.remove_prefix(1);
    }
    if (text.empty()) {
        return 0;
    }
    if (text[0] == '+') {
        text.remove_prefix(1);
    }
    return base::parse_int<int>(text);
}

} // namespace

Lent take_lent_fd(const char* name, Fd& fd, base::TextSink& why) {
    const char* const value = sys::environment_value(name);
    if (value == nullptr) {
        return Lent::absent;
    }
    const std::optional<int> number = parse_fd_number(value);
    if (!number) {
        // conmon prints errno here, which strtol has left at 0.
        why.put("unable to parse ").put(name).put(" Success");
        return Lent::refused;
    }
    if (const auto marked = sys::set_close_on_exec(FdRef{*number}); !marked) {
        why.put("unable to make ").put(name).put(" CLOEXEC ");
        base::put_errno(why, marked.error().code);
        return Lent::refused;
    }
    fd = Fd{*number};
    return Lent::given;
}

void Parent::report(int value, std::string_view message) {
    if (!sync_pipe_.valid()) {
        return;
    }
    Text<line_max> line;
    line.put("{\"").put(name_of(key_)).put("\": ").put_dec(value);
    if (!message.empty()) {
        const std::string_view end =
            message.size() > report_text_max
                ? std::string_view{message.data() + message.size() - report_text_max,
                                   report_text_max}
                : message;
        line.put(", \"message\": \"");
        base::put_json_escaped(line, end);
        line.put('"');
    }
    line.put("}\n");
    send(sync_pipe_, line.view());
}

void Parent::announce_sockets() {
    if (attach_pipe_.valid()) {
        send(attach_pipe_, "{\"data\": 0}\n");
    }
}

void Parent::send(Fd& pipe, std::string_view line) {
    const size_t piece_max =
        line.size() > packet_max && keeps_records(pipe) ? packet_max : line.size();
    while (!line.empty()) {
        const ssize_t count =
            sys::write(pipe.number(), line.data(), std::min(piece_max, line.size()));
        if (count < 0) {
            if (errno == EINTR || (errno == EAGAIN && await_room(pipe))) {
                continue;
            }
            // The caller may have gone; the container is none the worse for it.
            diag_.debug("Failed to report to the caller, ignoring",
                        base::Error{.code = errno, .call = "write"});
            pipe.reset();
            return;
        }
        line.remove_prefix(static_cast<size_t>(count));
    }
}

} // namespace monitor
