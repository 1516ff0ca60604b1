#include "base/ring.h"

#include <deque>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

using base::Ring;

namespace {

// Fills and drains at random, in parts, against a queue that cannot be wrong.
void run_against_model(uint32_t seed) {
    CAPTURE(seed);
    std::mt19937 random{seed};
    std::vector<std::byte> storage(64);
    Ring ring{storage};
    std::deque<std::byte> model;
    uint8_t next = 0;
    for (int step = 0; step < 20'000; ++step) {
        switch (random() % 3) {
        case 0: {
            size_t count = random() % (ring.room() + 1);
            ring.filled([&] {
                size_t left = count;
                for (base::MutableBytes span : ring.fillable()) {
                    for (std::byte& byte : span) {
                        if (left == 0) {
                            break;
                        }
                        byte = std::byte{next};
                        model.push_back(std::byte{next++});
                        --left;
                    }
                }
                return count;
            }());
            break;
        }
        case 1: {
            std::vector<std::byte> bytes(random() % (ring.room() + 1));
            for (std::byte& byte : bytes) {
                byte = std::byte{next};
                model.push_back(std::byte{next++});
            }
            ring.put(bytes);
            break;
        }
        default: {
            size_t count = random() % (ring.size() + 1);
            ring.drained(count);
            model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(count));
            break;
        }
        }
        std::vector<std::byte> held;
        for (base::Bytes span : ring.drainable()) {
            held.insert(held.end(), span.begin(), span.end());
        }
        REQUIRE(held.size() == ring.size());
        REQUIRE(std::equal(held.begin(), held.end(), model.begin(), model.end()));
        REQUIRE(ring.size() + ring.room() == ring.capacity());
        if (ring.empty()) {
            REQUIRE(ring.fillable()[0].size() == ring.capacity());
        }
    }
}

} // namespace

TEST_CASE("a ring behaves like a queue, whatever is filled and drained") {
    for (uint32_t seed = 1; seed <= 5; ++seed) {
        run_against_model(seed);
    }
}
