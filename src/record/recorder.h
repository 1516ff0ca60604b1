// Recorder: the container's output, kept by every driver that was chosen: the file, the journal,
// both or none. What is not a whole line yet stays with the caller, except that the journal, which
// has no use for a line's beginning, keeps it itself: a line that paused is P and F in the file,
// and one entry in the journal.
#pragma once

#include "base/stamp.h"
#include "record/journal.h"
#include "record/k8s_file.h"
#include "record/rate.h"
#include "record/stream.h"
#include "sys/clock.h"
#include "sys/diag.h"
#include "sys/zone.h"

namespace record {

// What follows a chunk. When a stream has paused, an incomplete line is recorded as it is; the
// final chunk is consumed even if the log waits for its reader, and what it does not take is lost.
enum class Pause : uint8_t { more_to_come, paused, final };

class Recorder {
  public:
    struct Settings {
        K8sFile::Settings k8s_file; // without a path: none
        Journal::Settings journal;
        RateLimit rate;
        bool stamps_utc = false;
        size_t record_max = 16'384; // bytes of a line in one record
    };

    // `ring` is the storage of the file's ring, `journal` that of the journal. `counters` outlive
    // the recorder, as everything else here does.
    Recorder(const Settings& settings,
             base::MutableBytes ring,
             Journal::Storage& journal,
             sys::Zone& zone,
             Counters& counters,
             sys::Diag& diag)
        : k8s_file_{settings.k8s_file, ring, counters, diag},
          journal_{settings.journal, settings.record_max, journal, counters, diag}, zone_{zone},
          counters_{counters}, limit_{settings.rate}, stamps_utc_{settings.stamps_utc},
          record_max_{settings.record_max}, wants_file_{settings.k8s_file.name.path != nullptr} {}

    // Opens the log file and prepares the journal's fields, as far as they are wanted.
    base::Result<void> open();

    // Records `bytes` of a stream. Returns how many were consumed; the caller brings the rest
    // again with what comes next. All are consumed when the stream has paused, unless the log waits
    // for its reader.
    size_t keep(Stream stream, base::Bytes bytes, Pause pause, sys::Instant now);

    // So many bytes of a stream have been read. Returns how many more may be; none: not before
    // expire() has ended its wait, to be asked for by waits_for_rate().
    size_t spend(Stream stream, size_t count, sys::Instant now) {
        const bool may_wait = limit_.bytes_per_second != 0 && limit_.excess == Excess::wait;
        return may_wait ? spend_rate(stream, count, now) : SIZE_MAX;
    }
    [[nodiscard]] bool waits_for_rate(Stream stream) {
        return bucket_of(stream).read_at != sys::never;
    }

    // From here on nothing waits for the rate, or is dropped for it, but the rest of a line; and
    // a slow reader of the log is waited for here.
    void end_of_container();

    // The end of a turn: one write for all that was recorded in it.
    void flush(sys::Instant now);

    // The log is a fifo whose reader is slow, or the journal is full: keep() would have to drop
    // records. awaited() is writable when there is room again.
    [[nodiscard]] bool waits_for_reader() const {
        return k8s_file_.waits_for_reader() || journal_.is_waiting();
    }
    [[nodiscard]] sys::FdRef awaited() const {
        return k8s_file_.waits_for_reader() ? k8s_file_.file() : journal_.socket();
    }

    // Whether records wait in memory.
    [[nodiscard]] bool holds_bytes() const { return k8s_file_.holds_bytes(); }

    // See Writer::is_busy. The journal's entries are to come from our own pid, which it notes.
    [[nodiscard]] bool is_busy() { return !journal_.is_on() && k8s_file_.writer().is_busy(); }
    void calm_down() { k8s_file_.writer().calm_down(); }
    [[nodiscard]] sys::Shield& shield() { return k8s_file_.writer().shield(); }

    // Whether code was needed since the last call that does not stay in memory
    // (scripts/resident.ld).
    [[nodiscard]] bool take_rare() {
        const bool is_rare = k8s_file_.take_rare();
        return std::exchange(rare_, false) || is_rare;
    }

    // Opens the log anew under its name.
    void reopen() { k8s_file_.reopen(); }

    // When expire() is to be called, whether there is output or not.
    [[nodiscard]] sys::Instant deadline() const {
        return std::min(std::min(k8s_file_.deadline(), journal_.deadline()), rate_.due);
    }

    // Tries again what was refused, or what waited for its reader; a stream that was too fast is
    // read again, or what is missing of it is said.
    void expire(sys::Instant now);

    // Writes what is left; nothing is recorded afterwards.
    void finish(sys::Instant now);

    // To the disk; may take long.
    void sync() { k8s_file_.sync(); }

    [[nodiscard]] sys::FdRef file() const { return k8s_file_.file(); }

    // Puts the state aside, or takes it over, in place of open() (sys/archive.h).
    void carry(sys::Archive& archive);
    void carry_rate(sys::Archive& archive);

  private:
    size_t keep_all(Stream stream, base::Bytes bytes, Pause pause, sys::Instant now);
    size_t keep_limited(Stream stream, base::Bytes bytes, Pause pause, sys::Instant now);
    size_t spend_rate(Stream stream, size_t count, sys::Instant now);
    void drop(Stream stream, size_t size, sys::Instant now);
    void tell_at(RateState::Bucket& bucket, sys::Instant then);
    void expire_rate(sys::Instant now, Pause pause);
    void tell_missing(Stream stream, sys::Instant now, Pause pause);
    [[nodiscard]] RateState::Bucket& bucket_of(Stream stream) {
        return rate_.buckets[static_cast<size_t>(stream)];
    }
    size_t keep_paced(Stream stream, base::Bytes bytes, Tail tail, sys::Instant now);
    size_t
    keep_piece(Stream stream, base::Bytes bytes, Tail tail, Patience patience, sys::Instant now);
    std::string_view stamp_now();

    K8sFile k8s_file_;
    Journal journal_;
    sys::Zone& zone_;
    Counters& counters_;
    RateLimit limit_;
    RateState rate_;
    base::Stamp stamp_;
    bool stamps_utc_;
    size_t record_max_;
    bool wants_file_;
    bool stamped_ = false; // in this turn
    bool rare_ = false;
};

} // namespace record
