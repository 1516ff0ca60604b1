// The large buffers of the monitor. They lie in .bss and are never cleared: a page of them costs
// memory only once it has been used, and the parts that use them start at offset 0 whenever they
// can.
#pragma once

#include "record/stream.h"

#include <array>
#include <cstddef>

namespace monitor {

constexpr size_t page_size = 4096;

struct Buffers {
    static constexpr size_t read_max = 65536;   // what one read of a stream brings at most,
    static constexpr size_t flood_max = 131072; // and in a flood
    static constexpr size_t record_max = 65536; // an incomplete line, the longest record
    static constexpr size_t words_max = 8192;   // what is kept of a runtime's last words
    static constexpr size_t ring_size = 131072; // two of the longest records
    static constexpr size_t packet_max = 32768; // what conmon uses of one packet from a client

    alignas(page_size) std::array<std::array<std::byte, flood_max + record_max + words_max>,
                                  record::stream_count> streams;
    alignas(page_size) std::array<std::byte, ring_size> ring;
    alignas(page_size) std::array<std::byte, packet_max> input;
    alignas(page_size) std::array<std::byte, packet_max> notify; // one sd_notify datagram
    alignas(page_size) std::array<char, packet_max + 1> notices; // what of it may pass
};

} // namespace monitor
