// The two streams of a container. A terminal is one stream, the first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace record {

enum class Stream : uint8_t { standard_output, standard_error };
constexpr size_t stream_count = 2;

constexpr std::string_view name_of(Stream stream) {
    return stream == Stream::standard_output ? "stdout" : "stderr";
}

} // namespace record
