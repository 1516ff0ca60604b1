// K8sFile: the log file in the format of the Kubernetes container runtime interface, one record a
// line (contract.md 4.2), with conmon's size limits and rotation (4.3). Its Writer keeps it going
// when the disk does not; what that costs is said once when it begins and once, with numbers, when
// it ends.
#pragma once

#include "base/copy.h"
#include "record/counters.h"
#include "record/k8s_frame.h"
#include "record/rotation.h"
#include "record/stream.h"
#include "record/writer.h"
#include "sys/clock.h"
#include "sys/diag.h"

namespace record {

class K8sFile {
  public:
    struct Settings {
        LogName name = {};            // path nullptr: there is no such log
        int64_t size_max = -1;        // bytes of a file; <= 0: no limit
        int64_t global_size_max = -1; // bytes of all that is ever written; <= 0: no limit
        int32_t backups = 0;          // old files that are kept; 0: none, a full one is replaced
    };

    K8sFile(const Settings& settings, base::MutableBytes ring, Counters& counters, sys::Diag& diag)
        : settings_{settings}, writer_{ring}, counters_{counters}, diag_{diag} {}

    // Opens the file for appending, or makes it (mode 0640). A fifo is opened without waiting for
    // its reader. The error is that of open(2); EPERM too for a directory that is not allowed,
    // which is said first.
    //
    // A monitor that was killed in the middle of a write has left the beginning of a record. Its
    // line is ended, so that what was written stays and what comes is whole; a beginning without
    // any content, which would be no record to anybody, is cut off.
    base::Result<void> open();

    [[nodiscard]] bool is_open() const { return writer_.has_file(); }

    // Whether a slow reader is to slow the container down, as behind a fifo or a terminal; a disk
    // never does.
    [[nodiscard]] bool is_paced() const { return paced_; }

    // Appends one record; `content` has no newline. What the limits or a full ring forbid is
    // dropped.
    void record(const K8sHead& head, Tag tag, base::Bytes content);

    // Many records at once, the quick way; nothing else is done to the file while a batch lives.
    class Batch {
      public:
        // Adds the number of its records to `count` at its end.
        Batch(K8sFile& file, uint64_t& count) : file_{file}, count_{count} { use(file.room()); }
        ~Batch() {
            file_.filled(static_cast<size_t>(at_ - begin_));
            count_ += records_;
        }
        Batch(const Batch&) = delete;
        Batch& operator=(const Batch&) = delete;

        // As K8sFile::record.
        [[gnu::always_inline]] void record(const K8sHead& head, Tag tag, base::Bytes content) {
            const size_t size = K8sHead::size + content.size() + 1;
            ++records_;
            if (size > static_cast<size_t>(end_ - at_)) {
                file_.filled(static_cast<size_t>(at_ - begin_));
                file_.record(head, tag, content);
                use(file_.room());
                return;
            }
            head.write(at_, tag);
            base::copy(at_ + K8sHead::size, content.data(), content.size());
            at_[size - 1] = std::byte{'\n'};
            at_ += size;
        }

      private:
        void use(base::MutableBytes room) {
            begin_ = at_ = room.data();
            end_ = begin_ + room.size();
        }

        K8sFile& file_;
        uint64_t& count_;
        uint64_t records_ = 0;
        std::byte* begin_;
        std::byte* at_;
        std::byte* end_;
    };

    // The end of a turn: writes what was recorded in it.
    void flush(sys::Instant now);

    // Opens the file anew: a new, empty file takes the name, and the old one becomes a backup or is
    // left to whoever renamed it. If that fails the old one stays in use. What is not a file (a
    // fifo, a device) is not replaced. False: it failed.
    bool reopen();

    [[nodiscard]] bool waits_for_reader() const { return paced_ && writer_.waits_for_reader(); }

    // Whether more was done since the last call than to write records, in more code.
    [[nodiscard]] bool take_rare() { return std::exchange(rare_, false); }

    // See Writer::is_busy.
    [[nodiscard]] Writer& writer() { return writer_; }

    [[nodiscard]] bool holds_bytes() const { return writer_.holds_bytes(); }

    // When flush() is to be called without output: while the disk refuses, or a reader is slow.
    [[nodiscard]] sys::Instant deadline() const {
        return stalled_at_ == sys::never ? retry_at_ : stalled_at_ + stall_max_ms;
    }

    // The container has ended, so that a slow reader can be waited for here.
    void be_patient() { writer_.be_patient(); }

    // Writes what it can of what is left, and says what was lost.
    void finish(sys::Instant now);

    // To the disk; may take long.
    void sync();

    [[nodiscard]] sys::FdRef file() const { return writer_.file(); }

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    static constexpr sys::Instant retry_ms = 1000; // of a disk that refused

    base::Result<sys::Fd> open_file(int flags) const;
    void mend_end();
    void tell_trouble(sys::Instant now);

    // Where records can be put that no limit forbids, and what was put there.
    [[nodiscard]] base::MutableBytes room();
    void filled(size_t count);
    [[nodiscard]] uint64_t size() const { return base_size_ + writer_.written() + writer_.held(); }

    Settings settings_;
    Writer writer_;
    Counters& counters_;
    sys::Diag& diag_;
    uint64_t base_size_ = 0; // of the file when it was opened
    uint64_t total_ = 0;     // against global_size_max
    sys::Instant retry_at_ = sys::never;
    bool paced_ = false;
    bool is_regular_ = false;
    bool in_trouble_ = false;     // the disk refuses, which has been said
    bool cannot_reopen_ = false;  // the file could not be opened anew, which has been said
    bool reopen_refused_ = false; // in this turn: no record asks for it again
    // What follows is not carried.
    sys::Instant stalled_at_ = sys::never; // since then the reader has taken nothing
    bool rare_ = false;
};

} // namespace record
