// Where the newlines are: the inner loop of everything that container output goes through. The
// bytes are looked at in blocks of 64, each of which becomes a mask with one bit per newline; the
// next newline is then a matter of two instructions, however short the lines are. No byte outside
// the span is read.
#pragma once

#include "base/bytes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace base {

// Hands out the newlines of a span one by one. The bytes are only borrowed and must not change
// meanwhile.
class NewlineScan {
  public:
    explicit NewlineScan(Bytes bytes) : data_{bytes.data()}, size_{bytes.size()} {}

    // The offset of the next newline, or the size of the span when none is left.
    [[gnu::always_inline]] size_t next() {
        uint64_t mask = mask_;
        if (mask == 0) {
            const Block found = find_block(data_, size_, examined_);
            mask = found.mask;
            block_ = found.begin;
            examined_ = std::min(size_, found.begin + block_size);
            if (mask == 0) {
                return size_;
            }
        }
        mask_ = mask & (mask - 1);
        // Not std::countr_zero, which asks once more whether the mask is 0.
        return block_ + static_cast<size_t>(__builtin_ctzll(mask));
    }

  private:
    static constexpr size_t block_size = 64;

    struct Block {
        size_t begin;
        uint64_t mask;
    };

    // The first block at or behind `from` that has a newline; with mask 0 if there is none. By
    // value in and out, so that the members of a scan stay in registers.
    static Block find_block(const std::byte* data, size_t size, size_t from);

    const std::byte* data_;
    size_t size_;
    size_t examined_ = 0; // where the next block begins
    size_t block_ = 0;    // where the block of `mask_` begins
    uint64_t mask_ = 0;   // bit n: a newline at block_ + n that was not yet handed out
};

// The offset of the first newline, or the size of the span if it has none.
inline size_t find_newline(Bytes bytes) {
    return NewlineScan{bytes}.next();
}

} // namespace base
