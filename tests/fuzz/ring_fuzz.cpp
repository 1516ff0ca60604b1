// The ring against a queue: whatever is put in, in one piece or by its spans, comes out in order,
// and an emptied ring starts again at the front.

#include "base/ring.h"

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <vector>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    std::vector<std::byte> storage(size_t{1} << (data[0] % 9));
    base::Ring ring{storage};
    std::deque<std::byte> queue;
    uint8_t next = 0;
    for (size_t at = 1; at + 1 < size; at += 2) {
        const size_t count = data[at + 1];
        if (data[at] % 3 == 0) {
            std::vector<std::byte> bytes(std::min(count, ring.room()));
            for (std::byte& byte : bytes) {
                byte = std::byte{++next};
                queue.push_back(byte);
            }
            ring.put(bytes);
        } else if (data[at] % 3 == 1) {
            const auto spans = ring.fillable();
            must(spans[0].size() + spans[1].size() == ring.room());
            size_t left = std::min(count, ring.room());
            ring.filled(left);
            for (const base::MutableBytes span : spans) {
                for (size_t i = 0; i < span.size() && left > 0; ++i, --left) {
                    span[i] = std::byte{++next};
                    queue.push_back(span[i]);
                }
            }
        } else {
            const size_t gone = std::min(count, ring.size());
            ring.drained(gone);
            queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(gone));
        }
        const auto held = ring.drainable();
        must(held[0].size() + held[1].size() == queue.size() && ring.size() == queue.size());
        must(ring.room() == storage.size() - queue.size() && ring.empty() == queue.empty());
        must(std::equal(held[0].begin(), held[0].end(), queue.begin()));
        must(std::equal(held[1].begin(),
                        held[1].end(),
                        queue.begin() + static_cast<std::ptrdiff_t>(held[0].size())));
        must(!queue.empty() || ring.fillable()[0].data() == storage.data());
    }
    return 0;
}
