// Writer: whole records through a ring into one file, one write a turn, or several in a flood. What
// the file does not take stays in the ring and is tried again; when the ring is full, whole records
// are dropped and counted, so that the container never waits for a disk. A record that was written
// in part is finished first when the file takes bytes again, or cut off at the end.
#pragma once

#include "base/ring.h"
#include "record/loss.h"
#include "record/patience.h"
#include "sys/archive.h"
#include "sys/fd.h"
#include "sys/io.h"
#include "sys/shield.h"

#include <algorithm>
#include <cerrno>
#include <optional>

namespace record {

class Writer {
  public:
    // `storage` outlives the writer; its size is a power of two and at least two of the longest
    // records, so that one always fits an emptied ring.
    explicit Writer(base::MutableBytes storage) : ring_{storage} {}

    // Writes to `file` from now on; what the ring holds goes there too, from a record's start. To
    // leave no part of a record in the old file, cut it off first. `size` is that of a regular
    // file, in which a killed monitor must not leave a part of a record.
    void set_file(sys::Fd file, std::optional<uint64_t> size = std::nullopt);

    [[nodiscard]] sys::FdRef file() const { return file_; }
    [[nodiscard]] bool has_file() const { return file_.valid(); }

    // Appends one record made of these pieces, neither of which has a newline, and a newline.
    // False: there is no room even after a flush, and the record counts as lost.
    bool put(base::Bytes head, base::Bytes content);

    // The quick way to append many records: the free bytes behind what is held, in one piece and no
    // more of them than one write is to bring, possibly none; and how many of them now are whole
    // records.
    [[nodiscard]] base::MutableBytes fillable();
    void filled(size_t count) { ring_.filled(count); }

    // Writes what the ring holds, as far as the file takes it; shielded where the write is more
    // than the kernel does in one piece.
    void flush();

    // Whether so much is written to a regular file, turn after turn, that whole turns should be
    // shielded.
    [[nodiscard]] bool is_busy() const { return size_ && busy_turns_ >= busy_min; }
    void calm_down() { busy_turns_ = 0; }
    [[nodiscard]] sys::Shield& shield() { return shield_; }

    // A file that has refused in this turn may be asked again. Returns whether it has taken a page
    // since that was returned last: a full pipe that nobody reads still takes less, into its last
    // one.
    bool end_turn();

    // The reader of the file has had its time: until it takes something it is a file that refuses.
    void give_up();

    // The container has ended: from now on a file that would block is waited for.
    void be_patient() { is_patient_ = true; }

    // The file has now `size` bytes before what is written to it.
    void set_size(uint64_t size) { size_ = size; }

    // Cuts off what the file has of a record in part, where a file can be cut; the record stays in
    // the ring.
    void cut_torn_record();

    // The reason why the last attempt to write failed; nothing once bytes go through again.
    [[nodiscard]] const std::optional<base::Error>& refusal() const { return refusal_; }

    // Whether bytes wait for a file that would have blocked: a fifo whose reader is slow.
    [[nodiscard]] bool waits_for_reader() const { return !ring_.empty() && !refusal_; }
    [[nodiscard]] bool holds_bytes() const { return !ring_.empty(); }

    // Bytes of whole and partial records that the file has got since set_file.
    [[nodiscard]] uint64_t written() const { return written_; }
    // Bytes that it is still to get.
    [[nodiscard]] size_t held() const { return ring_.size() - torn_; }

    // What is lost if it gets no more of them: records whose content stands behind `head_size`
    // bytes.
    [[nodiscard]] Loss unwritten(size_t head_size) const {
        Loss loss;
        for (const base::Bytes span : ring_.drainable()) {
            for (const std::byte one : span) {
                loss.records += one == std::byte{'\n'} ? 1 : 0;
            }
        }
        loss.bytes =
            ring_.size() - std::min<uint64_t>(ring_.size(), loss.records * (head_size + 1));
        return loss;
    }

    // What was dropped since the last call.
    Loss take_loss() { return std::exchange(loss_, Loss{}); }
    [[nodiscard]] const Loss& loss() const { return loss_; }

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    static constexpr uint8_t busy_min = 2;

    [[nodiscard]] bool has_given_up() const { return refusal_ && refusal_->code == EAGAIN; }
    [[nodiscard]] bool crosses_page() const;
    void write_out();
    void advance(size_t count);

    base::Ring ring_;
    sys::Fd file_;
    sys::Shield shield_;
    std::optional<uint64_t> size_; // of a regular file when it was set
    uint64_t written_ = 0;
    size_t torn_ = 0; // bytes of the record at the ring's head that are in the file already
    size_t written_in_turn_ = 0;
    uint8_t busy_turns_ = 0;       // turns that wrote more than a page, less those that did not
    bool stuck_ = false;           // the last flush left something
    bool refused_in_turn_ = false; // the disk is not asked again for every record
    Loss loss_;
    // What follows is not carried.
    std::optional<base::Error> refusal_;
    size_t taken_ = 0; // by the file, see end_turn()
    bool is_patient_ = false;
    LastWait last_wait_;
};

} // namespace record
