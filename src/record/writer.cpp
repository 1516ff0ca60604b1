#include "record/writer.h"

#include "sys/calls.h"

#include <cerrno>

namespace record {

using base::Bytes;
using base::Result;
using sys::Moved;

namespace {

// How many of the first `count` bytes stand behind the last '\n' among them; nothing if there is
// none.
std::optional<size_t> tail_after_newline(const base::Ring::ConstSpans& spans, size_t count) {
    const size_t in_first = std::min(count, spans[0].size());
    const size_t in_second = count - in_first;
    for (size_t i = in_second; i > 0; --i) {
        if (spans[1][i - 1] == std::byte{'\n'}) {
            return in_second - i;
        }
    }
    for (size_t i = in_first; i > 0; --i) {
        if (spans[0][i - 1] == std::byte{'\n'}) {
            return in_first - i + in_second;
        }
    }
    return std::nullopt;
}

// The length of the record at the head, its '\n' included.
size_t first_record(const base::Ring::ConstSpans& spans) {
    size_t length = 0;
    for (const Bytes span : spans) {
        for (const std::byte byte : span) {
            ++length;
            if (byte == std::byte{'\n'}) {
                return length;
            }
        }
    }
    return length;
}

} // namespace

void Writer::set_file(sys::Fd file) {
    if (torn_ != 0) {
        // The rest of a record whose beginning went to the old file.
        ring_.drained(first_record(ring_.drainable()));
        torn_ = 0;
        ++loss_.records;
    }
    file_ = std::move(file);
    written_ = 0;
    refusal_.reset();
}

void Writer::put(Bytes head, Bytes content, std::string_view end) {
    const size_t size = head.size() + content.size() + end.size();
    if (ring_.room() < size) {
        flush();
        if (ring_.room() < size) {
            ++loss_.records;
            loss_.bytes += content.size();
            return;
        }
    }
    ring_.put(head);
    ring_.put(content);
    ring_.put(base::bytes_of(end));
}

void Writer::flush() {
    while (!ring_.empty() && file_.valid()) {
        const Result<Moved> moved = sys::write_some(file_, ring_.drainable());
        if (!moved) {
            refusal_ = moved.error();
            return;
        }
        refusal_.reset();
        if (moved->state != Moved::State::some) {
            return;
        }
        advance(moved->count);
    }
}

void Writer::advance(size_t count) {
    written_ += count;
    if (count == ring_.size()) {
        torn_ = 0;
    } else if (const auto tail = tail_after_newline(ring_.drainable(), count)) {
        torn_ = *tail;
    } else {
        torn_ += count;
    }
    ring_.drained(count);
}

void Writer::cut_torn_record() {
    if (torn_ == 0) {
        return;
    }
    struct stat status{};
    if (sys::fstat(file_.number(), &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size >= static_cast<off_t>(torn_) &&
        sys::ftruncate(file_.number(), status.st_size - static_cast<off_t>(torn_)) == 0) {
        written_ -= torn_;
        ring_.drained(first_record(ring_.drainable()));
        torn_ = 0;
        ++loss_.records;
    }
}

} // namespace record
