// LineFeed: bytes in, whole lines out, in whatever pieces they come. A line that does not fit is
// discarded up to its newline and reported once; the line after it is a line like any other.
#pragma once

#include "base/bytes.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace base {

template <size_t N> class LineFeed {
  public:
    // Calls line(string_view) for each line completed by `bytes`, without its '\n', and too_long()
    // when a line begins not to fit.
    void feed(std::string_view bytes, auto&& line, auto&& too_long) {
        while (!bytes.empty()) {
            const size_t newline = std::min(bytes.find('\n'), bytes.size());
            const bool complete = newline != bytes.size();
            const std::string_view piece{bytes.data(), newline};
            if (!discarding_ && piece.size() > buffer_.size() - size_) {
                discarding_ = true;
                size_ = 0;
                too_long();
            }
            if (!discarding_) {
                if (!piece.empty()) {
                    std::memcpy(buffer_.data() + size_, piece.data(), piece.size());
                }
                size_ += piece.size();
            }
            if (!complete) {
                return;
            }
            if (!discarding_) {
                line(std::string_view{buffer_.data(), size_});
            }
            discarding_ = false;
            size_ = 0;
            bytes.remove_prefix(newline + 1);
        }
    }

    // What is kept of an incomplete line (sys/archive.h).
    void carry(auto& archive) {
        archive.carry_run(size_, buffer_);
        archive.require(size_ <= N);
    }

  private:
    size_t size_ = 0;
    bool discarding_ = false;
    std::array<char, N> buffer_; // only the first size_ are set
};

} // namespace base
