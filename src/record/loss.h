// Loss: what of the container's output a driver had to drop, counted in whole records, and how it
// is said.
#pragma once

#include "sys/diag.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace record {

struct Loss {
    uint64_t records = 0;
    uint64_t bytes = 0; // of the container's output, without stamps

    void add(size_t record_size) {
        ++records;
        bytes += record_size;
    }

    Loss& operator+=(const Loss& more) {
        records += more.records;
        bytes += more.bytes;
        return *this;
    }

    [[nodiscard]] bool any() const { return records != 0; }
};

// "what, records lost: 1, bytes lost: 2".
void put_loss(base::TextSink& text, std::string_view what, const Loss& loss);

// "what, records lost: 1, bytes lost: 2", as a warning.
void tell_loss(sys::Diag& diag, std::string_view what, const Loss& loss);

} // namespace record
