// What the recorder does only where there is a limit; apart from it, so that none of this is
// resident (scripts/resident.ld) where there is none.

#include "base/find.h"
#include "record/recorder.h"

#include <algorithm>
#include <array>

namespace record {

using base::Bytes;
using sys::Instant;
using Bucket = RateState::Bucket;
using Line = RateState::Line;

namespace {

constexpr Instant notice_ms = 1000;

// How long a stream waits: it is read, and we are woken, some times a second.
constexpr Instant wait_ms = 100;

// The longest time that is looked at: times any rate it is in range.
constexpr Instant fill_max_ms = Instant{1} << 30;

constexpr std::array newline{std::byte{'\n'}};
constexpr std::array streams{Stream::standard_output, Stream::standard_error};

void fill(Bucket& bucket, const RateLimit& limit, Instant now) {
    const Instant full = Instant{limit.burst} * 1000;
    const Instant fresh = std::min(now - bucket.filled_at, fill_max_ms) * limit.bytes_per_second;
    bucket.milli_bytes = bucket.filled_at == 0 ? full : std::min(bucket.milli_bytes + fresh, full);
    bucket.filled_at = now;
}

} // namespace

size_t Recorder::spend_rate(Stream stream, size_t count, Instant now) {
    rare_ = true;
    Bucket& bucket = bucket_of(stream);
    fill(bucket, limit_, now);
    bucket.milli_bytes -= static_cast<Instant>(count) * 1000;
    const Instant left = std::max<Instant>(bucket.milli_bytes, 0) / 1000;
    if (left == 0 && bucket.read_at == sys::never) {
        bucket.read_at = now + wait_ms;
        rate_.due = std::min(rate_.due, bucket.read_at);
        ++counters_.rate_waits;
        counters_.rate_wait_ms += wait_ms;
    }
    return static_cast<size_t>(left);
}

void Recorder::end_of_container() {
    k8s_file_.be_patient();
    limit_.burst = UINT32_MAX; // more than any stream holds
    for (Bucket& bucket : rate_.buckets) {
        bucket.filled_at = 0;
    }
}

size_t Recorder::keep_limited(Stream stream, Bytes bytes, Pause pause, Instant now) {
    rare_ = true;
    Bucket& bucket = bucket_of(stream);
    fill(bucket, limit_, now);
    size_t done = 0;
    while (done != bytes.size()) {
        // Cut as cut_records does it.
        const Bytes rest = bytes.subspan(done);
        const size_t line = base::find_newline(rest);
        const size_t content = std::min(line, record_max_);
        if (content == rest.size() && pause == Pause::more_to_come) {
            break;
        }
        const bool is_end = content == line && line != rest.size();
        const size_t size = content + (is_end ? 1 : 0);
        const bool is_owed = bucket.line == Line::recorded && is_end;
        if (bucket.line != Line::dropped && (bucket.milli_bytes > 0 || is_owed)) {
            if (keep_all(stream, rest.first(size), std::max(pause, Pause::paused), now) == 0) {
                break; // the log waits for its reader
            }
            bucket.milli_bytes -= static_cast<Instant>(size) * 1000;
            bucket.line = Line::recorded;
        } else {
            if (bucket.line == Line::recorded &&
                keep_all(stream, newline, Pause::paused, now) == 0) {
                break;
            }
            drop(stream, content, now);
            bucket.line = Line::dropped;
        }
        if (is_end) {
            bucket.line = Line::whole;
            if (bucket.missing.any()) {
                tell_at(bucket, now); // what could not be said within the line
            }
        }
        done += size;
    }
    return done;
}

void Recorder::drop(Stream stream, size_t size, Instant now) {
    Bucket& bucket = bucket_of(stream);
    ++counters_.streams[static_cast<size_t>(stream)].records;
    counters_.lost_to_rate.add(size);
    if (limit_.excess == Excess::drop) {
        bucket.missing.add(size);
        tell_at(bucket, now + notice_ms);
    }
}

void Recorder::tell_at(Bucket& bucket, Instant then) {
    if (bucket.notice_at == sys::never) {
        bucket.notice_at = then;
        rate_.due = std::min(rate_.due, then);
    }
}

void Recorder::expire_rate(Instant now, Pause pause) {
    rate_.due = sys::never;
    for (const Stream stream : streams) {
        Bucket& bucket = bucket_of(stream);
        if (bucket.read_at <= now) {
            bucket.read_at = sys::never;
        }
        if (bucket.notice_at <= now || (bucket.missing.any() && pause == Pause::final)) {
            tell_missing(stream, now, pause);
        }
        rate_.due = std::min(rate_.due, std::min(bucket.read_at, bucket.notice_at));
    }
}

void Recorder::tell_missing(Stream stream, Instant now, Pause pause) {
    Bucket& bucket = bucket_of(stream);
    bucket.notice_at = sys::never;
    if (bucket.line == Line::recorded) {
        if (pause != Pause::final) {
            return; // a line that goes on is not torn by it: when it ends
        }
        (void)keep_all(stream, newline, pause, now);
    }
    base::Text<128> notice;
    put_loss(notice, "mote: dropped by MOTE_LOG_RATE", bucket.missing);
    if (keep_all(stream, base::bytes_of(notice.put('\n').view()), pause, now) == 0) {
        bucket.notice_at = now + notice_ms; // the log waits for its reader
        return;
    }
    bucket.missing = {};
}

} // namespace record
