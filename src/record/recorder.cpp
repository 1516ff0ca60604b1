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
    if (!wants_file_) {
        return {};
    }
    return k8s_file_.open();
}

size_t Recorder::keep(Stream stream, Bytes bytes, Pause pause, Instant now) {
    if (!k8s_file_.is_open()) {
        return bytes.size();
    }
    const Tail tail = pause == Pause::more_to_come ? Tail::hold_back : Tail::record;
    if (k8s_file_.is_paced() && pause != Pause::final) {
        return keep_paced(stream, bytes, tail, now);
    }
    return frame_k8s(stamp_now(), stream, bytes, record_max_, tail, k8s_file_);
}

// Piece by piece, each written before the next, until the reader makes us wait.
size_t Recorder::keep_paced(Stream stream, Bytes bytes, Tail tail, Instant now) {
    size_t done = 0;
    while (done != bytes.size() && !waits_for_reader()) {
        const Bytes rest = bytes.subspan(done);
        const size_t line = std::min(base::find_newline(rest), record_max_) + 1;
        const Bytes piece = rest.first(std::min(std::max(line, paced_piece), rest.size()));
        const size_t consumed = frame_k8s(stamp_now(),
                                          stream,
                                          piece,
                                          record_max_,
                                          piece.size() == rest.size() ? tail : Tail::hold_back,
                                          k8s_file_);
        k8s_file_.flush(now);
        if (consumed == 0) {
            break; // an incomplete line
        }
        done += consumed;
    }
    return done;
}

std::string_view Recorder::stamp_now() {
    if (!stamped_) {
        const sys::WallTime now = sys::wall_time();
        stamp_.set(
            now.seconds, static_cast<uint32_t>(now.nanoseconds), zone_.offset_at(now.seconds));
        stamped_ = true;
    }
    return stamp_.view();
}

void Recorder::flush(Instant now) {
    if (stamped_) {
        stamped_ = false;
        k8s_file_.flush(now);
    }
}

void Recorder::expire(Instant now) {
    if (k8s_file_.deadline() <= now || waits_for_reader()) {
        k8s_file_.flush(now);
    }
}

} // namespace record
