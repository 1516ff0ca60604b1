// Ring: bytes in, bytes out, over storage that somebody else owns. It keeps a head and a size, so
// that full and empty differ without a reserved slot, and hands out at most two spans to fill and
// two to drain, so that readv and writev move bytes without copies. A ring that becomes empty
// starts again at offset 0: a quiet container touches the first page for ever and no other.
#pragma once

#include "base/bytes.h"
#include "base/copy.h"

#include <algorithm>
#include <array>

namespace base {

class Ring {
  public:
    using Spans = std::array<MutableBytes, 2>;
    using ConstSpans = std::array<Bytes, 2>;

    // `storage` outlives the ring; its size is a power of two.
    constexpr explicit Ring(MutableBytes storage) : storage_{storage} {
        CHECK(!storage.empty() && (storage.size() & (storage.size() - 1)) == 0);
    }

    [[nodiscard]] size_t capacity() const { return storage_.size(); }
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] size_t room() const { return storage_.size() - size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }

    // The free bytes in the order in which they are to be filled; the second span may be empty.
    [[nodiscard]] Spans fillable() {
        const size_t tail = wrapped(head_ + size_);
        const size_t first = std::min(room(), storage_.size() - tail);
        return {storage_.subspan(tail, first), storage_.first(room() - first)};
    }

    // Takes `count` bytes of fillable() as filled. More than there was room for is our own mistake.
    void filled(size_t count) {
        CHECK(count <= room());
        size_ += count;
    }

    // The bytes held, oldest first; the second span may be empty.
    [[nodiscard]] ConstSpans drainable() const {
        const size_t first = std::min(size_, storage_.size() - head_);
        return {storage_.subspan(head_, first), storage_.first(size_ - first)};
    }

    // Forgets the `count` oldest bytes. More than are held is our own mistake.
    void drained(size_t count) {
        CHECK(count <= size_);
        size_ -= count;
        head_ = size_ == 0 ? 0 : wrapped(head_ + count);
    }

    // Appends a copy of `bytes`, for which there must be room.
    void put(Bytes bytes) {
        CHECK(bytes.size() <= room());
        const size_t tail = wrapped(head_ + size_);
        const size_t first = std::min(bytes.size(), storage_.size() - tail);
        copy(storage_.data() + tail, bytes.data(), first);
        copy(storage_.data(), bytes.data() + first, bytes.size() - first);
        size_ += bytes.size();
    }

    // What is held, at the places where it is (sys/archive.h).
    void carry(auto& archive) {
        archive.carry_run(head_, size_);
        archive.require(head_ < storage_.size() && size_ <= storage_.size());
        archive.carry_raw(storage_.data(), std::min(head_ + size_, storage_.size()));
    }

  private:
    [[nodiscard]] size_t wrapped(size_t offset) const { return offset & (storage_.size() - 1); }

    MutableBytes storage_;
    size_t head_ = 0;
    size_t size_ = 0;
};

} // namespace base
