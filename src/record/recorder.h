// Recorder: the container's output, kept by every driver that was chosen. Streams are cut into
// records here, once for all drivers; what is not a whole line yet stays with the caller.
#pragma once

#include "base/stamp.h"
#include "record/k8s_file.h"
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
        K8sFile::Settings k8s_file; // path nullptr: none
        size_t record_max = 16'384; // bytes of a line in one record
    };

    // `ring` is the storage of the file's ring.
    Recorder(const Settings& settings, base::MutableBytes ring, sys::Zone& zone, sys::Diag& diag)
        : k8s_file_{settings.k8s_file, ring, diag}, zone_{zone}, record_max_{settings.record_max},
          wants_file_{settings.k8s_file.path != nullptr} {}

    // Opens the log file, if there is one.
    base::Result<void> open();

    // Records `bytes` of a stream. Returns how many were consumed; the caller brings the rest
    // again with what comes next. All are consumed when the stream has paused, unless the log waits
    // for its reader.
    size_t keep(Stream stream, base::Bytes bytes, Pause pause, sys::Instant now);

    // The end of a turn: one write for all that was recorded in it.
    void flush(sys::Instant now);

    // The log is a fifo whose reader is slow: keep() would have to drop records.
    [[nodiscard]] bool waits_for_reader() const { return k8s_file_.waits_for_reader(); }

    // Whether records wait in memory.
    [[nodiscard]] bool holds_bytes() const { return k8s_file_.holds_bytes(); }

    // Opens the log anew under its name.
    void reopen() { k8s_file_.reopen(); }

    // When expire() is to be called, whether there is output or not.
    [[nodiscard]] sys::Instant deadline() const { return k8s_file_.deadline(); }

    // Tries again what was refused, or what waited for its reader.
    void expire(sys::Instant now);

    // Writes what is left; nothing is recorded afterwards.
    void finish(sys::Instant now) { k8s_file_.finish(now); }

    // To the disk; may take long.
    void sync() { k8s_file_.sync(); }

    [[nodiscard]] sys::FdRef file() const { return k8s_file_.file(); }

  private:
    size_t keep_paced(Stream stream, base::Bytes bytes, Tail tail, sys::Instant now);
    std::string_view stamp_now();

    K8sFile k8s_file_;
    sys::Zone& zone_;
    base::Stamp stamp_;
    size_t record_max_;
    bool wants_file_;
    bool stamped_ = false; // in this turn
};

} // namespace record
