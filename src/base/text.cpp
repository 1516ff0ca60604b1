// Out of line, because nearly every message of the program goes through these.

#include "base/text.h"

#include <algorithm>
#include <cstring>

namespace base {

TextSink& TextSink::put(std::string_view text) {
    const size_t count = std::min(text.size(), capacity_ - size_);
    if (count != 0) {
        std::memcpy(data_ + size_, text.data(), count);
    }
    size_ += count;
    overflowed_ = overflowed_ || count != text.size();
    return *this;
}

TextSink& TextSink::put_number(uint64_t magnitude, bool negative, size_t width) {
    char digits[24]; // a sign and the 20 digits of the largest number
    char* const end = digits + sizeof digits;
    char* at = end;
    do {
        *--at = static_cast<char>('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude != 0);
    while (static_cast<size_t>(end - at) < std::min(width, sizeof digits - 1)) {
        *--at = '0';
    }
    if (negative) {
        *--at = '-';
    }
    return put({at, static_cast<size_t>(end - at)});
}

} // namespace base
