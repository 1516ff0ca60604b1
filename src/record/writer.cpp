#include "record/writer.h"

#include "sys/calls.h"

#include <array>

namespace record {

using base::Bytes;
using base::Result;
using sys::Moved;

namespace {

constexpr std::array newline{std::byte{'\n'}};

// So many bytes are written before more are collected. With 64 KiB the CPU time of 16-byte lines on
// ext4 is 12 % more, with the whole ring 3 % less, which the pages are not worth.
constexpr size_t flush_size = 98'304;

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

// What is left of the spans behind their first `count` bytes.
base::Ring::ConstSpans behind(const base::Ring::ConstSpans& spans, size_t count) {
    if (count < spans[0].size()) {
        return {spans[0].subspan(count), spans[1]};
    }
    return {spans[1].subspan(count - spans[0].size()), {}};
}

} // namespace

void Writer::set_file(sys::Fd file) {
    file_ = std::move(file);
    torn_ = 0;
    written_ = 0;
    stuck_ = false;
    refused_in_turn_ = false;
    refusal_.reset();
}

bool Writer::put(Bytes head, Bytes content) {
    const size_t size = head.size() + content.size() + 1;
    if ((ring_.room() < size && !refused_in_turn_) || (ring_.size() >= flush_size && !stuck_)) {
        flush();
    }
    if (ring_.room() < size) {
        ++loss_.records;
        loss_.bytes += content.size();
        return false;
    }
    ring_.put(head);
    ring_.put(content);
    ring_.put(newline);
    return true;
}

base::MutableBytes Writer::fillable() {
    const base::MutableBytes all = ring_.fillable()[0];
    if (stuck_) {
        return all;
    }
    const size_t until_flush = flush_size - std::min(flush_size, ring_.size());
    return all.first(std::min(all.size(), until_flush));
}

void Writer::flush() {
    stuck_ = true;
    while (!ring_.empty() && file_.valid()) {
        const Result<Moved> moved = sys::write_some(file_, behind(ring_.drainable(), torn_));
        if (!moved) {
            refusal_ = moved.error();
            refused_in_turn_ = true;
            return;
        }
        refusal_.reset();
        if (moved->state != Moved::State::some) {
            return;
        }
        advance(moved->count);
    }
    stuck_ = !ring_.empty();
}

// A record leaves the ring when the file has all of it.
void Writer::advance(size_t count) {
    written_ += count;
    const size_t reached = torn_ + count;
    if (reached == ring_.size()) {
        torn_ = 0;
        ring_.drained(reached);
        return;
    }
    torn_ = tail_after_newline(ring_.drainable(), reached).value_or(reached);
    ring_.drained(reached - torn_);
}

void Writer::cut_torn_record() {
    if (torn_ == 0) {
        return;
    }
    const auto torn = static_cast<off_t>(torn_);
    struct stat status{};
    if (sys::fstat(file_.number(), &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size >= torn && sys::ftruncate(file_.number(), status.st_size - torn) == 0) {
        written_ -= torn_;
        torn_ = 0;
    }
}

} // namespace record
