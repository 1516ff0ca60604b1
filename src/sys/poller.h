// Poller: epoll with typed events. Every registration gets a generation; an event that was already
// in a batch when its descriptor was closed, and perhaps its number used again, is recognised by
// its old generation and never delivered. There are no handlers: the caller switches on `source`.
#pragma once

#include "sys/clock.h"
#include "sys/fd.h"

#include <array>
#include <bit>

namespace sys {

// One for each kind of descriptor that the monitor watches, in the order in which a turn of the
// loop serves them.
enum class Source : uint8_t {
    runtime,          // pidfd of the OCI runtime
    container,        // pidfd of the container
    signals,          // signalfd
    attach_listener,  // where attach clients connect; before output, since who came first gets it
    standard_output,  // pipe or terminal from the container
    standard_error,   // pipe from the container
    start_pipe,       // exec-attach: the caller's word to go on
    attach_client,    // one attached client; `slot` says which
    standard_input,   // pipe or terminal to the container
    control,          // fifo ctl
    window_size,      // fifo winsz
    console_listener, // where the runtime connects
    console_sender,   // the runtime's connection, which brings the terminal
    oom_watch,        // eventfd (cgroup v1) or memory.events (cgroup v2)
    notify,           // sd_notify datagrams from the container
    log_file,         // a log that is a fifo and was full
};
constexpr size_t source_count = 16;

// What is put into the epoll datum.
struct Token {
    Source source;
    uint8_t slot; // which one, where a source has several
    uint16_t reserved;
    uint32_t generation;
};
static_assert(sizeof(Token) == sizeof(uint64_t));

struct Event {
    Source source;
    uint8_t slot;
    uint32_t mask; // EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR...
};

class Poller {
  public:
    static constexpr size_t slots_max = 128; // of one source
    static constexpr size_t batch_max = 32;

    using Batch = std::array<Event, batch_max>;

    static base::Result<Poller> create();

    // Waits until something is ready or `deadline` has come (`never`: without limit, or `now` or
    // earlier: not at all), and fills `batch`. The events are in no order; whether one is still
    // current must be asked, with is_current, when its turn comes. An interruption gives no events.
    base::Result<std::span<const Event>> wait(Instant now, Instant deadline, Batch& batch);

    // Whether the event's registration still is the one that it was for.
    [[nodiscard]] bool is_current(const Event& event) const;

    [[nodiscard]] FdRef fd() const { return epoll_; }

  private:
    friend class Watch;

    explicit Poller(Fd epoll) : epoll_{std::move(epoll)} {}

    uint32_t& generation_of(Source source, uint8_t slot);

    // Only clients have several slots; the others take one place each, before the clients'.
    static size_t place_of(Source source, uint8_t slot);

    Fd epoll_;
    std::array<uint32_t, source_count + slots_max> generations_{};
    std::array<uint32_t, batch_max> batch_generations_{};
    std::span<const Event> batch_;
};

// A descriptor with its registration. Wanting nothing means that it is not in the epoll set,
// because HUP cannot be masked there; `hang_up` alone asks for HUP and ERR and nothing else.
class Watch {
  public:
    static constexpr uint32_t nothing = 0;
    static constexpr uint32_t hang_up = 1U << 4; // EPOLLHUP

    [[gnu::noinline]] Watch() {} // a dozen of them are made in one place
    Watch(Poller& poller, Source source, uint8_t slot, Fd fd);
    Watch(Watch&& other) noexcept;
    Watch& operator=(Watch&& other) noexcept;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { close(); }

    [[nodiscard]] FdRef fd() const { return fd_; }
    [[nodiscard]] bool valid() const { return fd_.valid(); }

    // Asks for events (an epoll mask), or for `nothing`. EPERM: the file cannot be polled, such as
    // a regular file, and is always ready.
    base::Result<void> want(uint32_t mask);

    // Becomes the watch of a copy of the descriptor, and asks for events. False if either is
    // refused; then it is closed.
    bool watch_copy(Poller& poller, Source source, FdRef original, uint32_t mask);

    // Ends the registration and closes the descriptor; events in flight become stale.
    void close();

    // Ends the registration and gives the descriptor to the caller.
    Fd take();

  private:
    friend class Archive; // which carries a watch to the next program

    void unregister();
    void retire();

    Poller* poller_ = nullptr;
    Fd fd_;
    uint32_t wanted_ = nothing;
    uint32_t generation_ = 0;
    Source source_ = Source::runtime;
    uint8_t slot_ = 0;
};

} // namespace sys
