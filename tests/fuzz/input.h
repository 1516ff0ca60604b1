// An input of a fuzz target as a sequence of choices, and the faults that some of them are: system
// calls of the code under test that fail, or move less than was asked (tests/shadow).
#pragma once

#include "shadow/faults.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string_view>

namespace fuzz {

inline void must(bool holds, std::source_location where = std::source_location::current()) {
    if (!holds) {
        std::fprintf(stderr, "%s:%u does not hold\n", where.file_name(), where.line());
        std::abort();
    }
}

// Behind its end there are zeros.
class Input {
  public:
    Input(const uint8_t* data, size_t size) : rest_{reinterpret_cast<const char*>(data), size} {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }

    uint8_t byte() {
        const std::string_view taken = bytes(1);
        return taken.empty() ? uint8_t{0} : static_cast<uint8_t>(taken[0]);
    }

    size_t number() {
        const size_t high = byte();
        return high << 8 | byte();
    }

    std::string_view bytes(size_t most) {
        const std::string_view taken = rest_.substr(0, most);
        rest_.remove_prefix(taken.size());
        return taken;
    }

  private:
    std::string_view rest_;
};

// What is to become of the next calls of one name. Call judge() from a shadow::Faults.
class Plan {
  public:
    // Takes from the input which of `calls` it is, how it fails, and how often, up to 16 times. One
    // that moves less than was asked is followed by some that find no space.
    template <typename Calls> void draw(Input& input, const Calls& calls) {
        constexpr int errors[]{EAGAIN,
                               EINTR,
                               ENOSPC,
                               EIO,
                               ENOMEM,
                               EMFILE,
                               EPERM,
                               ENOENT,
                               EACCES,
                               EXDEV,
                               ENOBUFS,
                               EMSGSIZE,
                               ECONNREFUSED,
                               EPIPE};
        call_ = calls[input.byte() % std::size(calls)];
        const uint8_t how = input.byte();
        instead_ = {};
        if ((how & 0x80U) != 0) {
            instead_.at_most = 1 + (how & 0x7fU); // nothing at all would be an end
        } else {
            instead_.error = errors[how % std::size(errors)];
        }
        left_ = 1U + input.byte() % 16U;
        drawn_ = true;
    }

    // Nothing fails any more.
    void stop() { left_ = 0; }

    // Whether there has been any fault.
    [[nodiscard]] bool drawn() const { return drawn_; }

    shadow::Instead judge(const shadow::Call& call) {
        if (left_ == 0 || call.name != call_) {
            return {};
        }
        --left_;
        const shadow::Instead now = instead_;
        if (now.error == 0) {
            instead_ = {.error = ENOSPC};
        }
        return now;
    }

  private:
    std::string_view call_;
    shadow::Instead instead_;
    unsigned left_ = 0;
    bool drawn_ = false;
};

} // namespace fuzz
