// Container output in any bytes and any pieces: the records are those of the byte-by-byte model,
// and what they say is what the container wrote.

#include "support/k8s_model.h"

#include <cstdlib>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

constexpr std::string_view stamp = "2026-01-31T23:59:59.123456789+05:30";

} // namespace

// The first byte is the limit of a record. Then come pieces, each behind a byte whose highest bit
// says that the stream pauses after it, and whose other bits are its size; 127 stands for a
// piece of 1,000 bytes, made of one byte, that ends without a newline.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const size_t record_max = data[0] + size_t{1};
    support::K8sModel model{std::string{stamp} + " stdout ? ", record_max};
    support::K8sStream stream{stamp, record::Stream::standard_output, record_max};
    std::string written;
    for (size_t at = 1; at < size;) {
        const size_t length = data[at] & 0x7fU;
        const auto tail = (data[at] & 0x80U) != 0 ? record::Tail::record : record::Tail::hold_back;
        ++at;
        const size_t taken = std::min(length == 127 ? 1 : length, size - at);
        std::string piece{reinterpret_cast<const char*>(data + at), taken};
        if (length == 127 && taken == 1) {
            piece.assign(1'000, piece[0]);
        }
        at += taken;
        written += piece;
        model.bring(piece, tail);
        stream.bring(piece, tail);
        must(stream.log().size() == model.log().size());
        must(stream.held() == model.held() && stream.held().size() <= record_max);
    }
    must(stream.log() == model.log());
    must(stream.reread() + stream.held() == written);
    return 0;
}
