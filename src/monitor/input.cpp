#include "monitor/input.h"

#include "sys/calls.h"
#include "sys/io.h"

namespace monitor {

using base::Result;
using sys::Moved;

void Input::use(sys::Fd destination) {
    watch_ = sys::Watch{poller_, sys::Source::standard_input, 0, std::move(destination)};
    state_ = State::open;
    freed_ = true;
}

void Input::received(size_t count) {
    CHECK(pending_.empty());
    if (state_ != State::open) {
        return; // nobody to give it to, as with a container without a standard input
    }
    pending_ = buffer_.first(count);
    write_pending();
}

void Input::end_of_client() {
    if (end_of_input_ == EndOfInput::ignored || state_ != State::open) {
        return;
    }
    if (pending_.empty()) {
        close();
    } else {
        ending_ = true;
    }
}

void Input::on_ready() {
    write_pending();
}

void Input::write_pending() {
    while (!pending_.empty()) {
        const Result<Moved> moved = sys::write_some(watch_.fd(), pending_);
        if (!moved) {
            diag_.debug("The container's standard input has gone, ignoring", moved.error());
            close();
            return;
        }
        if (moved->state != Moved::State::some) {
            break;
        }
        pending_ = pending_.subspan(moved->count);
    }
    freed_ = pending_.empty();
    if (pending_.empty() && ending_) {
        close();
        return;
    }
    settle();
}

void Input::settle() {
    if (const auto wanted = watch_.want(pending_.empty() ? sys::Watch::nothing : EPOLLOUT);
        !wanted) {
        // Not a file that can be waited for; what it did not take is lost.
        pending_ = {};
        freed_ = true;
    }
}

void Input::close() {
    watch_.close();
    pending_ = {};
    state_ = State::discarding;
    freed_ = true;
}

} // namespace monitor
