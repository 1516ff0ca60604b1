// Text<N>: a bounded builder of text, in place of printf. What does not fit is cut off and
// remembered (`overflowed`), so the question is asked once, at the end. TextSink is the part that
// does not depend on N; functions that write text take a TextSink&.
#pragma once

#include "base/bytes.h"

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstring>
#include <string_view>

namespace base {

class TextSink {
  public:
    TextSink(const TextSink&) = delete;
    TextSink& operator=(const TextSink&) = delete;

    TextSink& put(std::string_view text) {
        const size_t count = std::min(text.size(), capacity_ - size_);
        if (count != 0) {
            std::memcpy(data_ + size_, text.data(), count);
        }
        size_ += count;
        overflowed_ = overflowed_ || count != text.size();
        return *this;
    }

    TextSink& put(char one) { return put(std::string_view{&one, 1}); }

    TextSink& put_dec(std::integral auto value) {
        char digits[24];
        const auto end = std::to_chars(digits, digits + sizeof digits, value);
        return put(std::string_view{digits, static_cast<size_t>(end.ptr - digits)});
    }

    // Decimal with leading zeros up to `width` digits; `value` is not negative.
    TextSink& put_padded(uint32_t value, size_t width) {
        char digits[12];
        const auto end = std::to_chars(digits, digits + sizeof digits, value);
        for (auto length = static_cast<size_t>(end.ptr - digits); length < width; ++length) {
            put('0');
        }
        return put(std::string_view{digits, static_cast<size_t>(end.ptr - digits)});
    }

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

  protected:
    TextSink(char* data, size_t capacity) : data_{data}, capacity_{capacity} {}
    ~TextSink() = default;

  private:
    char* data_;
    size_t capacity_;
    size_t size_ = 0;
    bool overflowed_ = false;
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
