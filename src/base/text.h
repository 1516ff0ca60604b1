// Text<N>: a bounded builder of text, in place of printf. What does not fit is cut off and
// remembered (`overflowed`), so the question is asked once, at the end. TextSink is the part that
// does not depend on N; functions that write text take a TextSink&.
#pragma once

#include "base/bytes.h"

#include <algorithm>
#include <concepts>
#include <string_view>
#include <utility>

namespace base {

class TextSink {
  public:
    TextSink(const TextSink&) = delete;
    TextSink& operator=(const TextSink&) = delete;

    TextSink& put(std::string_view text);
    TextSink& put(char one) { return put(std::string_view{&one, 1}); }

    TextSink& put_dec(std::integral auto value) {
        const bool negative = std::cmp_less(value, 0);
        const auto magnitude = static_cast<uint64_t>(value);
        return put_number(negative ? 0 - magnitude : magnitude, negative, 0);
    }

    // Decimal with leading zeros up to `width` digits.
    TextSink& put_padded(uint32_t value, size_t width) { return put_number(value, false, width); }

    [[nodiscard]] std::string_view view() const { return {data_, size_}; }
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] bool overflowed() const { return overflowed_; }
    [[nodiscard]] size_t room() const { return capacity_ - size_; }

    // The text as a C string. The builder always keeps one more byte for the terminator.
    [[nodiscard]] const char* c_str() {
        data_[size_] = '\0';
        return data_;
    }

    // Back to the first `size` characters, and as if nothing had overflowed.
    void shrink(size_t size) {
        CHECK(size <= size_);
        size_ = size;
        overflowed_ = false;
    }

    void clear() { shrink(0); }

    // The text as it is (sys/archive.h).
    void carry(auto& archive) {
        archive.carry_bytes(std::as_writable_bytes(std::span{data_, capacity_}), size_);
    }

  protected:
    TextSink(char* data, size_t capacity) : data_{data}, capacity_{capacity} {}
    ~TextSink() = default;

  private:
    TextSink& put_number(uint64_t magnitude, bool negative, size_t width);

    char* data_;
    size_t capacity_;
    size_t size_ = 0;
    bool overflowed_ = false;
};

// A builder over storage of somebody else, one byte of which is for the terminator.
class BorrowedText : public TextSink {
  public:
    explicit BorrowedText(std::span<char> storage) : TextSink{storage.data(), storage.size() - 1} {}
};

template <size_t N> class Text : public TextSink {
  public:
    // The buffer is left as it is: a large builder must not touch pages that it does not use.
    Text() : TextSink{buffer_, N} {} // NOLINT(cppcoreguidelines-pro-type-member-init)
    explicit Text(std::string_view start) : Text{} { put(start); }

  private:
    char buffer_[N + 1];
};

} // namespace base
