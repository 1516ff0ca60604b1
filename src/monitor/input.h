// Input: what attach clients type, to the container's standard input. It holds one packet at a
// time; while that is not written, no client is read, which is the back pressure on them.
#pragma once

#include "base/bytes.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/poller.h"

namespace monitor {

// What the end of a client's input means for the container.
enum class EndOfInput : uint8_t { ignored, closes_stdin };

class Input {
  public:
    // `buffer` outlives the part; a packet is cut to its size.
    Input(sys::Poller& poller, sys::Diag& diag, base::MutableBytes buffer, EndOfInput end_of_input)
        : poller_{poller}, diag_{diag}, buffer_{buffer}, end_of_input_{end_of_input} {}

    // A destination will come: until then nothing is read from clients, so that nothing is lost.
    void expect_destination() { state_ = State::expecting; }

    // The container's standard input: the write end of a pipe, or a terminal. Non-blocking.
    void use(sys::Fd destination);

    // Whether a packet can be received now.
    [[nodiscard]] bool is_free() const { return state_ != State::expecting && pending_.empty(); }

    // Whether it has become free since the last call, so that clients are to be received from
    // again.
    bool take_freed() { return std::exchange(freed_, false); }

    // Where to receive a packet; only when is_free().
    [[nodiscard]] base::MutableBytes room() { return buffer_; }

    // Takes the first `count` bytes of room() as a packet.
    void received(size_t count);

    // A client has ended its input: after what is pending, the container's input ends too, if it
    // was asked for so and there is one already.
    void end_of_client();

    // The destination takes bytes again, or has gone.
    void on_ready();

    // Nothing can be written any more, and nothing is waited for.
    void close();

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    enum class State : uint8_t { discarding, expecting, open };

    void write_pending();
    void settle();

    sys::Poller& poller_;
    sys::Diag& diag_;
    base::MutableBytes buffer_;
    base::Bytes pending_;
    sys::Watch watch_;
    State state_ = State::discarding;
    EndOfInput end_of_input_;
    bool ending_ = false; // close once `pending_` is written
    bool freed_ = false;
};

} // namespace monitor
