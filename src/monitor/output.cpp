#include "monitor/output.h"

#include "monitor/parent.h"
#include "sys/calls.h"
#include "sys/io.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace monitor {

using base::Bytes;
using base::MutableBytes;
using base::Result;
using record::Pause;
using record::Stream;
using sys::Instant;
using sys::Moved;

namespace {

static_assert(Buffers::words_max == report_text_max, "what is kept is what can be told");

constexpr std::array all_streams{Stream::standard_output, Stream::standard_error};

// Reads of one stream in a turn, so that a flood leaves turns to everything else.
constexpr int reads_max = 4;

// So much in one read: the container is ahead of us.
constexpr size_t flood_min = Buffers::read_max / 2;

// A writer that was interrupted in the middle of a line, by the scheduler or a full pipe, goes on
// within this time; without it lines of a fast writer would be cut whenever we are faster still.
constexpr Instant line_pause_ms = 10;

// How much longer it may take a writer that is not read all the time.
constexpr Instant rate_pause_ms = 100;

// How often a terminal that nobody has open is asked whether somebody has.
constexpr Instant hang_up_poll_ms = 100;

// What a terminal holds at most, and a pipe whose size cannot be had.
constexpr size_t drain_default = 131'072;

} // namespace

Result<void> Output::use(Stream stream, sys::Fd source) {
    const auto which = stream == Stream::standard_output ? sys::Source::standard_output
                                                         : sys::Source::standard_error;
    Channel& channel = at(stream);
    channel.watch = sys::Watch{poller_, which, 0, std::move(source)};
    return channel.watch.want(EPOLLIN);
}

void Output::settle_channel(Stream stream) {
    Channel& channel = at(stream);
    if (channel.watch.valid()) {
        const bool waits = is_held_back() || channel.hung_up || recorder_.waits_for_rate(stream);
        (void)channel.watch.want(waits ? sys::Watch::nothing : uint32_t{EPOLLIN});
    }
}

void Output::settle(Instant now) {
    // Before the start each piece that the log takes is offered apart: one at a time is owed.
    if (log_was_full_ && !recorder_.waits_for_reader() && (started_ || !clients_.owing())) {
        log_was_full_ = false;
        for (const Stream stream : all_streams) {
            if (started_) {
                record_held(stream, Pause::more_to_come, now);
            } else {
                keep_early(stream, now);
            }
        }
    }
    for (const Stream stream : all_streams) {
        settle_channel(stream);
    }
    count_stall(now);
}

void Output::count_stall(Instant now) {
    const bool is_held = is_held_back();
    if (stalled_since_ != sys::never) {
        counters_.stall_ms += static_cast<uint64_t>(now - stalled_since_);
    } else if (is_held) {
        ++counters_.stalls;
    }
    stalled_since_ = is_held ? now : sys::never;
}

void Output::on_ready(Stream stream, Instant now) {
    Channel& channel = at(stream);
    for (int i = 0; i < reads_max && !is_held_back(); ++i) {
        const size_t count = read_once(stream, now);
        if (count >= flood_min) {
            begin_flood(channel);
        }
        if (count < read_max(channel)) {
            return; // empty for now, or at its end
        }
    }
}

void Output::begin_flood(Channel& channel) {
    const bool is_any = std::any_of(
        channels_.begin(), channels_.end(), [](const Channel& one) { return one.calm_pipe != 0; });
    if (!started_ || is_any || larger_pipe_refused_) {
        return;
    }
    const int pipe = channel.watch.fd().number();
    const int size = sys::fcntl(pipe, F_GETPIPE_SZ);
    // The kernel refuses users who have many large pipes already.
    if (size > 0 && size < int{Buffers::flood_max} &&
        sys::fcntl(pipe, F_SETPIPE_SZ, int{Buffers::flood_max}) > 0) {
        channel.calm_pipe = size;
    } else {
        larger_pipe_refused_ = true;
    }
}

void Output::end_flood() {
    for (Channel& channel : channels_) {
        const bool is_larger = channel.calm_pipe != 0 && channel.watch.valid();
        if (is_larger &&
            sys::fcntl(channel.watch.fd().number(), F_SETPIPE_SZ, channel.calm_pipe) < 0 &&
            errno == EBUSY) {
            continue; // it holds more: the flood is only held back
        }
        channel.calm_pipe = 0;
    }
    larger_pipe_refused_ = false;
}

// Reads once and passes on what came. Returns how much that was; 0: there is no more now.
size_t Output::read_once(Stream stream, Instant now) {
    Channel& channel = at(stream);
    size_t most = read_max(channel);
    if (started_) {
        most = std::min(most, recorder_.spend(stream, 0, now));
    }
    make_room(channel, buffer_of(stream));
    const MutableBytes rest = buffer_of(stream).subspan(channel.end);
    const MutableBytes room = rest.first(std::min(most, rest.size()));
    if (room.empty()) {
        return 0; // it is to wait
    }
    const Result<Moved> moved = sys::read_some(channel.watch.fd(), room);
    if (!moved && moved.error().code == EIO &&
        sys::fcntl(channel.watch.fd().number(), F_GETPIPE_SZ) < 0) {
        // A terminal that nobody has open; somebody may open it again.
        channel.hung_up = true;
        hang_up_due_ = now + hang_up_poll_ms;
        settle_channel(stream);
        return 0;
    }
    if (!moved) {
        diag_.warning("Failed to read the container's output", moved.error());
    }
    if (!moved || moved->state == Moved::State::ended) {
        channel.watch.close();
        channel.calm_pipe = 0;
        record_held(stream, Pause::paused, now);
        return 0;
    }
    if (moved->state == Moved::State::would_block) {
        return 0;
    }
    const Bytes fresh = room.first(moved->count);
    channel.end += static_cast<uint32_t>(moved->count);
    count_bytes(stream, moved->count);
    burst_ = burst_ || channel.end > page_size;
    if (started_) {
        (void)recorder_.spend(stream, fresh.size(), now);
        record_held(stream, Pause::more_to_come, now);
        clients_.offer(stream, fresh, now);
    } else {
        keep_early(stream, now);
    }
    return moved->count;
}

// While the runtime runs, only what is too much is recorded, and never its last words.
void Output::keep_early(Stream stream, Instant now) {
    Channel& channel = at(stream);
    const size_t held = channel.end - channel.begin;
    if (held <= Buffers::read_max) {
        return;
    }
    const Bytes early = Bytes{buffer_of(stream)}.subspan(channel.begin, held - Buffers::words_max);
    const size_t consumed = recorder_.keep(stream, early, Pause::more_to_come, now);
    channel.begin += static_cast<uint32_t>(consumed);
    clients_.offer(stream, early.first(consumed), now);
    log_was_full_ = log_was_full_ || recorder_.waits_for_reader();
}

// Records what is held, as far as it is whole lines or `pause` tells to.
void Output::record_held(Stream stream, Pause pause, Instant now) {
    Channel& channel = at(stream);
    if (!started_ || channel.begin == channel.end) {
        channel.line_due = sys::never;
        return;
    }
    const Bytes held = Bytes{buffer_of(stream)}.subspan(channel.begin, channel.end - channel.begin);
    const size_t consumed = recorder_.keep(stream, held, pause, now);
    channel.begin += static_cast<uint32_t>(consumed);
    if (recorder_.waits_for_reader()) {
        log_was_full_ = true;
        channel.line_due = sys::never;
    } else if (channel.begin == channel.end) {
        channel.line_due = sys::never;
    } else if (consumed != 0 || channel.line_due == sys::never) {
        channel.line_due = now + line_pause_ms; // counted from the line's first piece
    }
}

// Moves what is held to the front. Only called when no client is owed a part of it.
void Output::make_room(Channel& channel, MutableBytes buffer) {
    const size_t held = channel.end - channel.begin;
    if (channel.begin != 0) {
        if (held != 0) {
            std::memmove(buffer.data(), buffer.data() + channel.begin, held);
        }
        channel.begin = 0;
        channel.end = static_cast<uint32_t>(held);
    }
}

void Output::start(Instant now) {
    started_ = true;
    for (const Stream stream : all_streams) {
        const Channel& channel = at(stream);
        const Bytes held =
            Bytes{buffer_of(stream)}.subspan(channel.begin, channel.end - channel.begin);
        record_held(stream, Pause::more_to_come, now);
        clients_.offer(stream, held, now);
    }
}

std::string_view Output::last_words() const {
    const Channel& channel = at(Stream::standard_error);
    const auto& buffer = buffers_.streams[static_cast<size_t>(Stream::standard_error)];
    const size_t size = std::min<size_t>(channel.end - channel.begin, Buffers::words_max);
    return base::text_of(Bytes{buffer}.subspan(channel.end - size, size));
}

void Output::collect_last_words(Instant now) {
    constexpr int reads_at_most = 64; // a descendant of the runtime may go on writing
    for (int i = 0; i < reads_at_most && is_open(Stream::standard_error) && !is_held_back() &&
                    read_once(Stream::standard_error, now) != 0;
         ++i) {
    }
}

void Output::drain(Instant now) {
    for (const Stream stream : all_streams) {
        if (is_open(stream)) {
            drain_stream(stream, now);
        }
    }
    close(now);
}

void Output::close(Instant now) {
    for (const Stream stream : all_streams) {
        record_held(stream, Pause::final, now);
        at(stream).watch.close();
    }
}

// Whatever the stream can hold is read, and no more: somebody may go on writing to it.
void Output::drain_stream(Stream stream, Instant now) {
    const int pipe_size = sys::fcntl(at(stream).watch.fd().number(), F_GETPIPE_SZ);
    const size_t most = pipe_size > 0 ? static_cast<size_t>(pipe_size) : drain_default;
    if (clients_.count() != 0) {
        if (drain_aside(stream, most, now)) {
            return;
        }
        diag_.warning("No memory for what attach clients are owed, dropping them");
        clients_.close_all();
    }
    size_t left = most;
    while (is_open(stream)) {
        // What a slow reader of the log holds back leaves no room for another read of a flood.
        record_held(stream, Pause::more_to_come, now);
        if (recorder_.waits_for_reader()) {
            record_held(stream, Pause::final, now);
        }
        const size_t count = read_once(stream, now);
        if (count == 0 || count >= left) {
            return;
        }
        left -= count;
    }
}

// Drains into pages of its own, which live as long as the process: what attach clients are owed
// stays where it is until they have it. False when there is no memory.
bool Output::drain_aside(Stream stream, size_t most, Instant now) {
    Channel& channel = at(stream);
    const Bytes held = Bytes{buffer_of(stream)}.subspan(channel.begin, channel.end - channel.begin);
    void* const pages = sys::mmap(
        nullptr, held.size() + most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return false;
    }
    const MutableBytes aside{static_cast<std::byte*>(pages), held.size() + most};
    std::copy(held.begin(), held.end(), aside.begin());
    channel.begin = channel.end = 0;

    size_t end = held.size();
    while (end < aside.size()) {
        const Result<Moved> moved = sys::read_some(channel.watch.fd(), aside.subspan(end));
        if (!moved || moved->state != Moved::State::some) {
            break;
        }
        end += moved->count;
    }
    count_bytes(stream, end - held.size());
    (void)recorder_.keep(stream, aside.first(end), Pause::final, now);
    clients_.offer(stream, aside.subspan(held.size(), end - held.size()), now);
    return true;
}

bool Output::holds_bytes() const {
    return clients_.owing() ||
           std::any_of(channels_.begin(), channels_.end(), [](const Channel& channel) {
               return channel.begin != channel.end;
           });
}

Instant Output::deadline() const {
    Instant earliest = hang_up_due_;
    for (const Channel& channel : channels_) {
        earliest = std::min(earliest, channel.line_due);
    }
    return earliest;
}

void Output::expire(Instant now) {
    for (const Stream stream : all_streams) {
        Channel& channel = at(stream);
        if (channel.line_due > now) {
            continue;
        }
        if (recorder_.waits_for_rate(stream)) {
            channel.line_due = now + rate_pause_ms; // the rest of it may wait in the pipe
        } else {
            record_held(stream, Pause::paused, now);
        }
    }
    if (hang_up_due_ <= now) {
        hang_up_due_ = sys::never;
        for (const Stream stream : all_streams) {
            at(stream).hung_up = false;
            settle_channel(stream);
        }
    }
}

} // namespace monitor
