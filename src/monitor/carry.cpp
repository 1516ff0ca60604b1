// What each part of the monitor puts aside when another program takes its place (sys/archive.h).
// The code that runs only then is apart from what stays in memory (scripts/resident.ld).

#include "monitor/monitor.h"

namespace monitor {

using record::Stream;
using sys::Archive;
using sys::Source;

void Monitor::carry(Archive& archive) {
    archive.carry_run(origin_.signal_mask, origin_.signal_mask);
    origin_.oom_score_adjustment.carry(archive);
    archive.carry_run(timeout_at_, runtime_started_);
    archive.require(phase_ <= Phase::running);
    runtime_.carry(archive);
    container_.carry(archive);
    archive.carry(runtime_watch_, Source::runtime);
    archive.carry(container_watch_, Source::container);
    archive.carry(start_pipe_, Source::start_pipe);
    archive.carry(runtime_stdin_);
    archive.carry(runtime_stdout_);
    archive.carry(runtime_stderr_);
    parent_.carry(archive);
    recorder_.carry(archive);
    output_.carry(archive);
    input_.carry(archive);
    clients_.carry(archive, std::as_bytes(std::span{buffers_.streams}));
    control_.carry(archive);
    console_.carry(archive);
    oom_watch_.carry(archive);
    notify_relay_.carry(archive, options_.sdnotify_socket);
    archive.carry_raw(&counters_, sizeof counters_);
    recorder_.carry_rate(archive);
}

void Parent::carry(Archive& archive) {
    archive.carry(sync_pipe_);
    archive.carry(attach_pipe_);
}

void Output::carry(Archive& archive) {
    for (size_t which = 0; which < channels_.size(); ++which) {
        Channel& channel = channels_[which];
        if (channel.begin == channel.end && !clients_.owing()) {
            channel.begin = channel.end = 0; // nobody needs what is in the buffer
        }
        const auto first = static_cast<size_t>(Source::standard_output);
        archive.carry(channel.watch, static_cast<Source>(first + which));
        archive.carry_run(channel.begin, channel.line_due);
        archive.require(channel.begin <= channel.end &&
                        channel.end <= buffers_.streams[which].size());
        archive.carry_raw(buffers_.streams[which].data(), channel.end);
    }
    archive.carry_run(hang_up_due_, burst_);
}

void Input::carry(Archive& archive) {
    archive.carry(watch_, Source::standard_input);
    std::copy(pending_.begin(), pending_.end(), buffer_.begin());
    size_t count = pending_.size();
    archive.carry_bytes(buffer_, count);
    if (archive.is_good()) {
        pending_ = buffer_.first(count);
    }
    archive.carry_run(state_, freed_);
    archive.require(state_ <= State::open);
}

// What has been offered lies in the buffers of the streams, which have been carried: as far from
// their beginning there as here.
void Clients::carry(Archive& archive, base::Bytes streams) {
    archive.carry(listener_, Source::attach_listener);
    auto begin = reinterpret_cast<uintptr_t>(streams.data());
    archive.carry(begin);
    archive.carry_run(count_, segments_);
    archive.carry(accept_again_at_);
    archive.require(segment_count_ <= segments_.size());
    for (size_t i = 0; archive.is_good() && i < segment_count_; ++i) {
        base::Bytes& bytes = segments_[i].bytes;
        const size_t offset = reinterpret_cast<uintptr_t>(bytes.data()) - begin;
        archive.require(offset < streams.size() && bytes.size() - 1 < streams.size() - offset);
        bytes = {streams.data() + (archive.is_good() ? offset : 0), bytes.size()};
    }
    for (Client& client : clients_) {
        const auto slot = static_cast<uint8_t>(&client - clients_.data());
        if (!archive.carry(client.watch, Source::attach_client, slot)) {
            continue;
        }
        archive.carry_run(client.stalled_since, client.gone);
        archive.require_room(client.stalled_since);
        archive.require(
            client.segment <= segment_count_ &&
            client.offset <
                (client.segment < segment_count_ ? segments_[client.segment].bytes.size() : 1));
    }
}

void Control::carry(Archive& archive) {
    archive.carry(control_, Source::control);
    archive.carry(window_size_, Source::window_size);
    control_feed_.carry(archive);
    window_size_feed_.carry(archive);
}

void Console::carry(Archive& archive) {
    archive.carry(listener_, Source::console_listener);
    archive.carry(sender_, Source::console_sender);
    archive.carry_run(terminal_, size_); // the number is the output's
    path_.carry(archive);
}

void OomWatch::carry(Archive& archive) {
    archive.carry(watch_, Source::oom_watch);
    archive.carry(events_);
    archive.carry(group_);
    archive.carry_run(seen_, version_);
    archive.require(version_ <= sys::CgroupVersion::v2);
    if (archive.loads() && version_ == sys::CgroupVersion::v2 && events_.valid()) {
        watch_events_v2(); // an older program had inotify here
    }
}

void NotifyRelay::carry(Archive& archive, const char* host) {
    archive.carry(socket_, Source::notify);
    archive.carry(retry_at_);
    notices_.carry(archive);
    host_ = host;
}

} // namespace monitor
