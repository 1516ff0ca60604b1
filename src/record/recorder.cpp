#include "record/recorder.h"

#include "base/find.h"

#include <algorithm>

namespace record {

using base::Bytes;
using base::Result;
using sys::Instant;

namespace {

// So few bytes, be they all newlines, fit an empty ring as records.
constexpr size_t paced_piece = 2048;

} // namespace

Result<void> Recorder::open() {
    if (journal_.is_on()) {
        TRY(journal_.open());
    }
    return wants_file_ ? k8s_file_.open() : Result<void>{};
}

size_t Recorder::keep(Stream stream, Bytes bytes, Pause pause, Instant now) {
    const bool may_drop = limit_.bytes_per_second != 0 && limit_.excess != Excess::wait;
    return may_drop ? keep_limited(stream, bytes, pause, now) : keep_all(stream, bytes, pause, now);
}

size_t Recorder::keep_all(Stream stream, Bytes bytes, Pause pause, Instant now) {
    const Tail tail = pause == Pause::more_to_come ? Tail::hold_back : Tail::record;
    if ((k8s_file_.is_paced() || journal_.is_on()) && pause != Pause::final) {
        return keep_paced(stream, bytes, tail, now);
    }
    return keep_piece(stream, bytes, tail, Patience::now, now);
}

// Piece by piece, each written before the next, until the reader makes us wait.
size_t Recorder::keep_paced(Stream stream, Bytes bytes, Tail tail, Instant now) {
    size_t done = 0;
    while (done != bytes.size() && !waits_for_reader()) {
        const Bytes rest = bytes.subspan(done);
        const size_t line = std::min(base::find_newline(rest), record_max_) + 1;
        const Bytes piece = rest.first(std::min(std::max(line, paced_piece), rest.size()));
        const size_t consumed = keep_piece(stream,
                                           piece,
                                           piece.size() == rest.size() ? tail : Tail::hold_back,
                                           Patience::later,
                                           now);
        if (k8s_file_.is_paced() && !k8s_file_.writer().refusal()) {
            k8s_file_.flush(now);
        }
        if (consumed == 0) {
            break; // an incomplete line
        }
        done += consumed;
    }
    return done;
}

// Both drivers get the same bytes, and cut them each for itself.
size_t Recorder::keep_piece(Stream stream, Bytes bytes, Tail tail, Patience patience, Instant now) {
    size_t consumed = bytes.size();
    if (k8s_file_.is_open()) {
        uint64_t& count = counters_.streams[static_cast<size_t>(stream)].records;
        consumed = frame_k8s(
            stamp_now(), stream, bytes, record_max_, tail, K8sFile::Batch{k8s_file_, count});
    }
    if (journal_.is_on()) {
        rare_ = true;
        journal_.keep(stream, bytes.first(consumed), patience, now);
    }
    return consumed;
}

std::string_view Recorder::stamp_now() {
    if (!stamped_) {
        const sys::WallTime now = sys::wall_time();
        stamp_.set(now.seconds,
                   static_cast<uint32_t>(now.nanoseconds),
                   stamps_utc_ ? 0 : zone_.offset_at(now.seconds, rare_));
        stamped_ = true;
    }
    return stamp_.view();
}

void Recorder::flush(Instant now) {
    // Behind a fifo all is written as it is recorded, and what waits is written by expire() only:
    // who holds back the container must learn that it need not any more.
    if (std::exchange(stamped_, false) && !k8s_file_.is_paced()) {
        k8s_file_.flush(now);
    }
}

void Recorder::expire(Instant now) {
    if (k8s_file_.deadline() <= now || k8s_file_.waits_for_reader()) {
        k8s_file_.flush(now);
    }
    if (journal_.is_waiting()) {
        journal_.expire(now);
    }
    if (rate_.due <= now) {
        expire_rate(now, Pause::paused);
    }
}

void Recorder::finish(Instant now) {
    if (limit_.bytes_per_second != 0) {
        expire_rate(now, Pause::final);
    }
    k8s_file_.finish(now);
    journal_.finish(now);
}

} // namespace record
