// What the recorder puts aside when another program takes the monitor's place (sys/archive.h): the
// open file and what stands in it, records that the file or the journal has not taken, and what was
// lost. Settings are not among it: they are made of the same command line again.

#include "record/recorder.h"

namespace record {

using sys::Archive;

void Recorder::carry(Archive& archive) {
    k8s_file_.carry(archive);
    journal_.carry(archive);
}

void Recorder::carry_rate(Archive& archive) {
    archive.carry_raw(&rate_, sizeof rate_);
    for (const RateState::Bucket& bucket : rate_.buckets) {
        archive.require(bucket.line <= RateState::Line::dropped);
        archive.require_room(bucket.filled_at);
        archive.require_room(bucket.milli_bytes);
    }
}

void K8sFile::carry(Archive& archive) {
    writer_.carry(archive);
    archive.carry_run(base_size_, reopen_refused_);
    // What is not carried is found out by trying at once. Should the old program go on, it does so
    // too.
    retry_at_ = 0;
    if (in_trouble_) {
        writer_.give_up();
    }
}

// Why the file last refused is not carried: it is asked again.
void Writer::carry(Archive& archive) {
    ring_.carry(archive);
    archive.carry(file_);
    archive.carry_run(size_, loss_);
    archive.require(torn_ <= ring_.size());
}

void Journal::carry(Archive& archive) {
    for (size_t stream = 0; stream < stream_count; ++stream) {
        Line& line = lines_[stream];
        archive.carry(line.priority);
        archive.carry_bytes(storage_.held[stream], line.size);
    }
    archive.carry(socket_);
    archive.carry_run(loss_, in_trouble_);
    gave_up_waiting_ = in_trouble_;
    if (is_waiting()) {
        archive.require_room(stalled_at_);
    }
    if (archive.loads() && is_on()) {
        archive.require(open().has_value());
    }
}

} // namespace record
