#include "record/k8s_frame.h"

#include "base/stamp.h"

#include <cstring>

namespace record {

K8sHead::K8sHead(std::string_view stamp, Stream stream) {
    const std::string_view name = name_of(stream);
    CHECK(stamp.size() == base::Stamp::size && stamp.size() + name.size() + 4 == size);
    std::memcpy(text_.data(), stamp.data(), base::Stamp::size);
    text_[base::Stamp::size] = ' ';
    std::memcpy(text_.data() + base::Stamp::size + 1, name.data(), name.size());
    text_[size - 3] = ' ';
    text_[size - 2] = static_cast<char>(Tag::full);
    text_[size - 1] = ' ';
}

} // namespace record
