#include "monitor/control.h"

#include "sys/calls.h"
#include "sys/file.h"
#include "sys/io.h"

namespace monitor {

using base::Result;
using sys::Moved;
using sys::Source;
using sys::WindowSize;

namespace {

constexpr mode_t fifo_mode = 0660; // less the umask
constexpr int64_t dimension_max = 1000;

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// One number as scanf's %d takes it off the front of `text`. A number out of an int's range is
// outside every range that matters here, so it only must not wrap.
std::optional<int64_t> take_number(std::string_view& text) {
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
    return negative ? -value : value;
}

std::optional<WindowSize> take_size(std::string_view& text) {
    const auto rows = take_number(text);
    const auto columns = take_number(text);
    if (!rows || !columns || *rows < 0 || *rows > dimension_max || *columns < 0 ||
        *columns > dimension_max) {
        return std::nullopt;
    }
    return WindowSize{.rows = static_cast<uint16_t>(*rows),
                      .columns = static_cast<uint16_t>(*columns)};
}

} // namespace

ControlLine parse_control(std::string_view line) {
    const auto type = take_number(line);
    const auto size = type ? take_size(line) : std::nullopt;
    if (!size) {
        return {};
    }
    switch (*type) {
    case 1:
        return {.kind = ControlLine::Kind::resize, .size = *size};
    case 2:
        return {.kind = ControlLine::Kind::reopen, .size = {}};
    default:
        return {};
    }
}

std::optional<WindowSize> parse_window_size(std::string_view line) {
    return take_size(line);
}

Result<void> Control::open(sys::FdRef directory) {
    TRY(open_one(directory, "ctl", Source::control));
    return open_one(directory, "winsz", Source::window_size);
}

Result<void> Control::open_one(sys::FdRef directory, const char* name, Source source) {
    sys::Fd fifo = TRY(sys::make_fifo(directory, name, fifo_mode));
    sys::Watch& watch = source == Source::control ? control_ : window_size_;
    watch = sys::Watch{poller_, source, 0, std::move(fifo)};
    return watch.want(EPOLLIN);
}

Control::Wishes Control::on_ready(Source source) {
    const bool is_control = source == Source::control;
    Wishes wishes;
    std::array<char, 1024> buffer;
    const Result<Moved> moved = sys::read_some(is_control ? control_.fd() : window_size_.fd(),
                                               std::as_writable_bytes(std::span{buffer}));
    if (!moved || moved->state != Moved::State::some) {
        return wishes;
    }
    const std::string_view text{buffer.data(), moved->count};
    const auto too_long = [this] { diag_.warning("A control line is too long, ignoring it"); };
    if (!is_control) {
        window_size_feed_.feed(
            text,
            [&](std::string_view line) {
                if (const auto size = parse_window_size(line)) {
                    wishes.resize = size;
                } else {
                    diag_.warning("Failed to parse a window size, ignoring it");
                }
            },
            too_long);
        return wishes;
    }
    control_feed_.feed(
        text,
        [&](std::string_view line) {
            const ControlLine parsed = parse_control(line);
            switch (parsed.kind) {
            case ControlLine::Kind::resize:
                wishes.resize = parsed.size;
                break;
            case ControlLine::Kind::reopen:
                wishes.reopen = true;
                break;
            case ControlLine::Kind::malformed:
                diag_.warning("Failed to parse a control message, ignoring it");
                break;
            }
        },
        too_long);
    return wishes;
}

} // namespace monitor
