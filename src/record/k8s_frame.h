// Container output as records of the Kubernetes container runtime's log format:
//
//     2026-01-31T23:59:59.123456789+05:30 stdout F a whole line, or the end of a long one
//     2026-01-31T23:59:59.123456789+05:30 stdout P a part of a line that is not its end
//
// Pure, and without state between calls: where a line is cut depends on its own bytes only. The
// buffer is the caller's, and so is the decision whether a line that has not ended yet is written
// as it is. Any byte but the newline is content.
#pragma once

#include "base/find.h"
#include "record/stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace record {

// What stands at the end of a record's head: F, the record ends its line; P, it does not.
enum class Tag : char { full = 'F', partial = 'P' };

// What to do with a line at the end of the bytes that has not ended yet and is not too long: its
// stream has more to read at this moment, or it has paused or ended.
enum class Tail : uint8_t { hold_back, record };

// Cuts `bytes` into the contents of records, in order, and calls record(content, tag) for each. A
// line of up to `record_max` bytes, its newline not counted, is one record, F; a longer one is cut
// every `record_max` bytes, P ... P F. Returns how many bytes were consumed; the rest, at most
// `record_max` bytes, belongs in front of what the stream brings next, and is nothing for
// Tail::record. After a P that was recorded early, a newline alone is an F without content, as with
// conmon. `record_max` is at least 1.
template <typename Record>
[[gnu::always_inline]] inline size_t
cut_records(base::Bytes bytes, size_t record_max, Tail tail, Record&& record) {
    CHECK(record_max != 0);
    base::NewlineScan newlines{bytes};
    size_t begin = 0;
    for (;;) {
        const size_t end = newlines.next();
        while (end - begin > record_max) {
            record(bytes.subspan(begin, record_max), Tag::partial);
            begin += record_max;
        }
        if (end == bytes.size()) {
            break;
        }
        record(bytes.subspan(begin, end - begin), Tag::full);
        begin = end + 1;
    }
    if (tail == Tail::record && begin != bytes.size()) {
        record(bytes.subspan(begin), Tag::partial);
        begin = bytes.size();
    }
    return begin;
}

// The head of a record: everything in front of its content.
class K8sHead {
  public:
    static constexpr size_t size = 45;

    // `stamp` has the 35 characters of a base::Stamp.
    K8sHead(std::string_view stamp, Stream stream);

    // Writes the head with `tag` to `to`, which has room for it. (The tag is set there, and not
    // here: a byte that was just written would delay the reading of all.)
    void write(std::byte* to, Tag tag) const {
        std::memcpy(to, text_.data(), size);
        to[size - 2] = static_cast<std::byte>(tag);
    }

    [[nodiscard]] std::array<std::byte, size> with(Tag tag) const {
        std::array<std::byte, size> head;
        write(head.data(), tag);
        return head;
    }

  private:
    std::array<char, size> text_;
};

// cut_records, calling sink.record(head, tag, content) for each record; a newline belongs behind
// every content, also behind that of a P. All records of one call bear the same stamp.
template <typename Sink>
[[gnu::always_inline]] inline size_t frame_k8s(std::string_view stamp,
                                               Stream stream,
                                               base::Bytes bytes,
                                               size_t record_max,
                                               Tail tail,
                                               Sink&& sink) {
    const K8sHead head{stamp, stream};
    return cut_records(
        bytes, record_max, tail, [&](base::Bytes content, Tag tag) __attribute__((always_inline)) {
            sink.record(head, tag, content);
        });
}

} // namespace record
