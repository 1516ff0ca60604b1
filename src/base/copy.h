// Copying of few bytes. musl's memcpy begins with `rep movs`, which costs more than ten nanoseconds
// on x86-64 before the first byte has moved: more than all else that is done with a short line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace base {

namespace detail {

// The first and the last N bytes, which overlap when there are less than two times N.
template <size_t N> void copy_ends(std::byte* to, const std::byte* from, size_t size) {
    std::memcpy(to, from, N);
    std::memcpy(to + size - N, from + size - N, N);
}

} // namespace detail

// memcpy: `size` bytes, which may be none, between ranges that do not overlap. (A memcpy of a size
// that the compiler knows is no call.)
inline void copy(std::byte* to, const std::byte* from, size_t size) {
    constexpr size_t call_min = 256; // from here on a call costs nothing in comparison
    constexpr size_t step = 16;

    if (size >= call_min) {
        std::memcpy(to, from, size);
    } else if (size >= step) {
        for (size_t at = 0; at + step < size; at += step) {
            std::memcpy(to + at, from + at, step);
        }
        std::memcpy(to + size - step, from + size - step, step);
    } else if (size >= 8) {
        detail::copy_ends<8>(to, from, size);
    } else if (size >= 4) {
        detail::copy_ends<4>(to, from, size);
    } else {
        for (size_t at = 0; at < size; ++at) {
            to[at] = from[at];
        }
    }
}

} // namespace base
