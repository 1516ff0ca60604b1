#include "monitor/control.h"

#include "sys/calls.h"
#include "sys/file.h"
#include "sys/io.h"

#include <algorithm>

namespace monitor {

using base::Result;
using sys::Moved;
using sys::Source;

namespace {

constexpr mode_t fifo_mode = 0660; // less the umask
constexpr int32_t dimension_max = 1000;

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// One number as scanf's %d takes it off the front of `text`. One that does not fit is outside every
// range that matters here, so it only must not wrap.
std::optional<int32_t> take_number(std::string_view& text) {
    while (!text.empty() && is_space(text[0])) {
        text.remove_prefix(1);
    }
    bool negative = false;
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
        negative = text[0] == '-';
        text.remove_prefix(1);
    }
    if (text.empty() || text[0] < '0' || text[0] > '9') {
        return std::nullopt;
    }
    int64_t value = 0;
    while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
        value = std::min<int64_t>(value * 10 + (text[0] - '0'), INT32_MAX);
        text.remove_prefix(1);
    }
    return static_cast<int32_t>(negative ? -value : value);
}

ControlLine parse_sized(ControlLine::Kind kind, int32_t type, std::string_view text) {
    const auto rows = take_number(text);
    const auto columns = rows ? take_number(text) : std::nullopt;
    if (!columns) {
        return {};
    }
    const bool fits =
        *rows >= 0 && *rows <= dimension_max && *columns >= 0 && *columns <= dimension_max;
    return {.kind = fits || kind == ControlLine::Kind::unknown_type
                        ? kind
                        : ControlLine::Kind::out_of_range,
            .type = type,
            .rows = *rows,
            .columns = *columns};
}

} // namespace

ControlLine parse_control(std::string_view line) {
    const auto type = take_number(line);
    if (!type) {
        return {};
    }
    switch (*type) {
    case 1:
        return parse_sized(ControlLine::Kind::resize, *type, line);
    case 2:
        return parse_sized(ControlLine::Kind::reopen, *type, line);
    default:
        return parse_sized(ControlLine::Kind::unknown_type, *type, line);
    }
}

ControlLine parse_window_size(std::string_view line) {
    return parse_sized(ControlLine::Kind::resize, 1, line);
}

Result<void> Control::open_control(sys::FdRef directory) {
    return open_one(directory, "ctl", Source::control, control_);
}

Result<void> Control::open_window_size(sys::FdRef directory) {
    return open_one(directory, "winsz", Source::window_size, window_size_);
}

Result<void>
Control::open_one(sys::FdRef directory, const char* name, Source source, sys::Watch& watch) {
    sys::Fd fifo = TRY(sys::make_fifo(directory, name, fifo_mode));
    watch = sys::Watch{poller_, source, 0, std::move(fifo)};
    return watch.want(EPOLLIN);
}

Control::Wishes Control::on_ready(Source source) {
    const bool is_control = source == Source::control;
    sys::Watch& watch = is_control ? control_ : window_size_;
    Wishes wishes;
    std::array<char, 1024> buffer;
    const Result<Moved> moved =
        sys::read_some(watch.fd(), std::as_writable_bytes(std::span{buffer}));
    if (!moved) {
        diag_.warning("Failed to read control messages", moved.error());
        watch.close();
        return wishes;
    }
    if (moved->state != Moved::State::some) {
        return wishes;
    }
    const std::string_view text{buffer.data(), moved->count};
    Feed& feed = is_control ? control_feed_ : window_size_feed_;
    feed.feed(
        text,
        [&](std::string_view line) {
            take(is_control ? parse_control(line) : parse_window_size(line), wishes);
        },
        [this] { diag_.warning("Could not find newline in entire buffer"); });
    return wishes;
}

void Control::take(const ControlLine& line, Wishes& wishes) {
    switch (line.kind) {
    case ControlLine::Kind::resize:
        wishes.resize = line.size();
        return;
    case ControlLine::Kind::reopen:
        wishes.reopen = true;
        return;
    case ControlLine::Kind::too_few_numbers:
    case ControlLine::Kind::unknown_type:
    case ControlLine::Kind::out_of_range:
        refuse(line);
        return;
    }
}

void Control::refuse(const ControlLine& line) {
    sys::Message message;
    if (line.kind == ControlLine::Kind::too_few_numbers) {
        message.put("Invalid control message format");
    } else if (line.kind == ControlLine::Kind::unknown_type) {
        message.put("Invalid control message type: ").put_dec(line.type);
    } else {
        message.put("Invalid window size: ").put_dec(line.rows).put('x').put_dec(line.columns);
        message.put(" (must be between 0 and 1000)");
    }
    diag_.warning(message.view());
}

} // namespace monitor
