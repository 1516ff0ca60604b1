#include "record/k8s_frame.h"

#include "base/stamp.h"

#include <bit>
#include <cstring>

namespace record {

K8sHead::K8sHead(std::string_view stamp, Stream stream) {
    // As numbers in the code: a text would be on a page that nothing else of a record needs.
    using Name = std::array<char, 8>;
    const auto out = std::bit_cast<uint64_t>(Name{' ', 's', 't', 'd', 'o', 'u', 't', ' '});
    const auto err = std::bit_cast<uint64_t>(Name{' ', 's', 't', 'd', 'e', 'r', 'r', ' '});
    const uint64_t name = stream == Stream::standard_output ? out : err;
    CHECK(stamp.size() == base::Stamp::size && stamp.size() + sizeof name + 2 == size);
    std::memcpy(text_.data(), stamp.data(), base::Stamp::size);
    std::memcpy(text_.data() + base::Stamp::size, &name, sizeof name);
    text_[size - 2] = static_cast<char>(Tag::full);
    text_[size - 1] = ' ';
}

} // namespace record
