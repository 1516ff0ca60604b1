// A file descriptor that the tests own, and the instants they are ready to wait for.
//
// Every wait of the flow tests has a Deadline; passing it throws TimedOut with words that say what
// did not happen, so that a hang of the program under test is a failure with a reason.

#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <unistd.h>

namespace support {

// Owns one descriptor and closes it. -1 means that there is none.
class Handle {
  public:
    Handle() = default;
    explicit Handle(int fd) : fd_(fd) {}
    Handle(Handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~Handle() { reset(); }

    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
        fd_ = -1;
    }

  private:
    int fd_ = -1;
};

// Thrown when something that had to happen did not happen in time.
struct TimedOut : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Thrown when the test's own machinery fails; it carries errno's text.
struct Broken : std::runtime_error {
    explicit Broken(const std::string& what);
};

using std::chrono::milliseconds;
using std::chrono::seconds;

// An instant on the steady clock.
class Deadline {
  public:
    explicit Deadline(milliseconds from_now) : at_(std::chrono::steady_clock::now() + from_now) {}

    // Milliseconds left, never negative, in the form that poll() takes.
    int left_ms() const;
    bool passed() const { return left_ms() == 0; }

  private:
    std::chrono::steady_clock::time_point at_;
};

// How long the tests wait for what must happen soon. It is long because the machine may be busy;
// what must not wait for a neighbour (a sleeping process, a silent client) is given a neighbour
// that lasts several times longer than this.
constexpr seconds soon{10};

// Waits until `fd` is readable (or has ended). False when the deadline passed first.
bool wait_readable(int fd, const Deadline& deadline);

// Calls `holds` every two milliseconds until it is true: for states that no event announces, such
// as a process's disappearance from another one's children. False when the deadline passed first.
template <typename Predicate> bool eventually(Predicate holds, milliseconds limit = soon) {
    const Deadline deadline(limit);
    while (!holds()) {
        if (deadline.passed()) {
            return holds();
        }
        ::usleep(2000);
    }
    return true;
}

} // namespace support
