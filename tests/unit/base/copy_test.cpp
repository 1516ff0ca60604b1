#include "base/copy.h"

#include <algorithm>
#include <vector>

#include <catch2/catch.hpp>

TEST_CASE("a copy moves exactly its bytes, for every size up to twice the one of a call") {
    constexpr size_t fence = 40;
    for (size_t size = 0; size <= 600; ++size) {
        for (size_t alignment = 0; alignment < 17; ++alignment) {
            // The source has just its bytes, so that a sanitizer sees any read beside them.
            std::vector<std::byte> from(size);
            for (size_t at = 0; at < size; ++at) {
                from[at] = static_cast<std::byte>(at * 7 + 1);
            }
            std::vector<std::byte> to(fence + alignment + size + fence, std::byte{0xee});
            std::vector<std::byte> expected = to;
            std::copy(from.begin(), from.end(), expected.begin() + fence + alignment);
            base::copy(to.data() + fence + alignment, from.data(), size);
            if (to != expected) {
                CAPTURE(size, alignment);
                FAIL();
            }
        }
    }
    SUCCEED();
}
