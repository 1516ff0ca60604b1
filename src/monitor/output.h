// Output: the container's standard output and error, to the recorder and to attached clients.
//
//     pipe or terminal --read--> buffer --keep--> recorder    (log first)
//                                       --offer-> clients
//
// Each stream has a buffer with an incomplete line at its front and room for one read behind it:
//
//     0        begin          end             size
//     | .....  | not recorded | room to read  |
//
// A stream that fills its pipe all the time gets a larger one, and is read in larger pieces: half
// as many switches between the container and us. Only one stream at a time does.
//
// While a client is owed something, or the log waits for its reader, nothing is read, and a stream
// that is faster than MOTE_LOG_RATE is read now and then: that is the back pressure on the
// container. While the runtime runs, what comes is only kept, since it may be
// the runtime's last words; more than the buffer holds is recorded early.
#pragma once

#include "monitor/buffers.h"
#include "monitor/clients.h"
#include "record/recorder.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/poller.h"

#include <array>

namespace monitor {

class Output {
  public:
    Output(sys::Poller& poller,
           sys::Diag& diag,
           record::Recorder& recorder,
           Clients& clients,
           Buffers& buffers,
           Counters& counters)
        : poller_{poller}, diag_{diag}, recorder_{recorder}, clients_{clients}, buffers_{buffers},
          counters_{counters} {}

    // Reads a stream from `source`, which is non-blocking.
    base::Result<void> use(record::Stream stream, sys::Fd source);

    // The container runs: what was kept is recorded and offered, and so is all that comes.
    void start(sys::Instant now);

    void on_ready(record::Stream stream, sys::Instant now);

    // What holds reading back may have changed: clients were served, the log has taken bytes.
    void settle(sys::Instant now);

    // Adds the time that has passed since the container was first held back, or since the last
    // call, to the counters.
    void count_stall(sys::Instant now);

    // What a failed runtime wrote to its standard error last.
    [[nodiscard]] std::string_view last_words() const;

    // The runtime has ended: reads what it left in its standard error.
    void collect_last_words(sys::Instant now);

    // At the end of the container: records and offers what the streams hold at this moment, bounded
    // by what they can hold, and closes them.
    void drain(sys::Instant now);

    // After a timeout: records what has been read and closes the streams as they are.
    void close(sys::Instant now);

    [[nodiscard]] sys::Instant deadline() const;
    void expire(sys::Instant now);

    // Whether something is kept that is not recorded, or that a client is owed.
    [[nodiscard]] bool holds_bytes() const;

    // Whether more than a page was read at once since the last call.
    bool take_burst() { return std::exchange(burst_, false); }

    // No burst has been seen for a while.
    void end_flood();

    [[nodiscard]] bool is_open(record::Stream stream) const { return at(stream).watch.valid(); }

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    struct Channel {
        sys::Watch watch;
        uint32_t begin = 0;
        uint32_t end = 0;
        int calm_pipe = 0;    // in a flood: the pipe's size before it was made larger
        bool hung_up = false; // a terminal that nobody has open: asked again after a while
        sys::Instant line_due = sys::never; // when an incomplete line is recorded as it is
    };

    [[nodiscard]] Channel& at(record::Stream stream) {
        return channels_[static_cast<size_t>(stream)];
    }
    [[nodiscard]] const Channel& at(record::Stream stream) const {
        return channels_[static_cast<size_t>(stream)];
    }
    [[nodiscard]] base::MutableBytes buffer_of(record::Stream stream) {
        return buffers_.streams[static_cast<size_t>(stream)];
    }
    [[nodiscard]] bool is_held_back() const {
        return clients_.owing() || recorder_.waits_for_reader();
    }

    [[nodiscard]] static size_t read_max(const Channel& channel) {
        return channel.calm_pipe != 0 ? Buffers::flood_max : Buffers::read_max;
    }
    void begin_flood(Channel& channel);
    size_t read_once(record::Stream stream, sys::Instant now);
    void keep_early(record::Stream stream, sys::Instant now);
    void record_held(record::Stream stream, record::Pause pause, sys::Instant now);
    void count_bytes(record::Stream stream, size_t count) {
        counters_.records.streams[static_cast<size_t>(stream)].bytes += count;
    }
    static void make_room(Channel& channel, base::MutableBytes buffer);
    void drain_stream(record::Stream stream, sys::Instant now);
    bool drain_aside(record::Stream stream, size_t most, sys::Instant now);
    void settle_channel(record::Stream stream);

    sys::Poller& poller_;
    sys::Diag& diag_;
    record::Recorder& recorder_;
    Clients& clients_;
    Buffers& buffers_;
    Counters& counters_;
    std::array<Channel, record::stream_count> channels_;
    sys::Instant hang_up_due_ = sys::never;
    sys::Instant stalled_since_ = sys::never;
    bool started_ = false;
    bool larger_pipe_refused_ = false;
    bool log_was_full_ = false;
    bool burst_ = false;
};

} // namespace monitor
