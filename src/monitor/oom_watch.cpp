#include "monitor/oom_watch.h"

#include "sys/calls.h"
#include "sys/file.h"

#include <array>
#include <cerrno>

#include <limits.h>

namespace monitor {

using base::Bytes;
using base::fail;
using base::Result;
using base::Text;
using sys::CgroupVersion;
using sys::Fd;
using sys::Instant;

namespace {

// Measured: the kernel tells of a removal 11 to 39 ms after it.
constexpr int removal_patience_ms = 200;

// CGROUP_FILE_NOTIFY_MIN_INTV of the kernel.
constexpr int kernel_pause_ms = 10;

// A group that lives at its limit changes the counters thousands of times a second. When we have
// been told so often, without a pause of calm_ms, we ask less often.
constexpr int eager_count = 10;
constexpr int busy_pause_ms = 256;
constexpr int calm_ms = 512;

// Moving a descriptor out of a Result is done in one place, which halves the code.
Result<void> open_to(Fd& fd, sys::FdRef directory, const char* path, int flags, base::Step step) {
    fd = TRY(sys::open_at(directory, path, flags, 0, step));
    return {};
}

} // namespace

void OomWatch::start(pid_t pid) {
    version_ = sys::cgroup_version();
    Text<PATH_MAX> group;
    Result<void> started = sys::put_memory_cgroup(group, pid, version_);
    if (started) {
        started = version_ == CgroupVersion::v1 ? start_v1(group.view()) : start_v2(group.view());
    }
    if (!started) {
        // Common where the controller is not delegated, and no reason for alarm.
        diag_.debug("Cannot watch for lack of memory, ignoring", started.error());
        watch_.close();
        events_.reset();
        group_.reset();
    }
}

Result<void> OomWatch::start_v1(std::string_view group) {
    Text<PATH_MAX> path{group};
    Fd control;
    TRY(open_to(
        group_, sys::working_directory(), path.c_str(), O_PATH | O_DIRECTORY, "open cgroup"));
    TRY(open_to(events_, group_, "memory.oom_control", O_RDONLY, "open oom_control"));
    TRY(open_to(control, group_, "cgroup.event_control", O_WRONLY, "open event_control"));
    Fd counter{sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!counter.valid()) {
        return fail(errno, "create eventfd");
    }
    Text<32> request;
    request.put_dec(counter.number()).put(' ').put_dec(events_.number());
    if (sys::write(control.number(), request.view().data(), request.size()) < 0) {
        return fail(errno, "register for oom events"); // kernels with PREEMPT_RT have none
    }
    watch_ = sys::Watch{poller_, sys::Source::oom_watch, 0, std::move(counter)};
    return watch_.want(EPOLLIN);
}

Result<void> OomWatch::start_v2(std::string_view group) {
    Text<PATH_MAX> path{group};
    path.put("/memory.events");
    TRY(open_to(events_, sys::working_directory(), path.c_str(), O_RDONLY, "open memory.events"));
    watch_events_v2();
    check(); // what happened before we watched
    return {};
}

void OomWatch::watch_events_v2() {
    // If it fails there is the look at the end.
    (void)watch_.watch_copy(poller_, sys::Source::oom_watch, events_, EPOLLPRI);
}

void OomWatch::on_ready(Instant now) {
    if (version_ == CgroupVersion::v1) {
        on_event_v1();
        return;
    }
    check();
    watch_.close();
    look_after_ms_ = ++told_ < eager_count ? 1 : busy_pause_ms;
    look_at_ = now + look_after_ms_;
}

void OomWatch::expire(Instant now) {
    look_at_ = sys::never;
    if (look_after_ms_ == calm_ms) {
        told_ = 0;
        return;
    }
    check();
    look_after_ms_ *= 2;
    if (look_after_ms_ > kernel_pause_ms) {
        look_after_ms_ = calm_ms;
        watch_events_v2();
    }
    look_at_ = now + look_after_ms_;
}

void OomWatch::on_event_v1() {
    uint64_t count = 0;
    if (sys::read(watch_.fd().number(), &count, sizeof count) != sizeof count) {
        return;
    }
    // The removal of the group is an event too, which comes some time after the group has gone. Of
    // those that are read from then on, one is that.
    struct stat status{};
    if (sys::fstatat(group_.number(), "cgroup.event_control", &status, 0) == 0) {
        leave_files();
        return;
    }
    unexplained_ += count;
    if (unexplained_ > 1) {
        leave_files();
    }
}

// At the end a single event may be the removal of the group, or what came before that; then the
// removal is still to come, and never late.
void OomWatch::await_removal_v1() {
    if (unexplained_ != 1 || has_left_files_) {
        return;
    }
    pollfd removal{.fd = watch_.fd().number(), .events = POLLIN, .revents = 0};
    if (sys::poll(&removal, 1, removal_patience_ms) == 1) {
        on_event_v1();
    }
}

void OomWatch::check() {
    if (!events_.valid()) {
        return;
    }
    if (version_ == CgroupVersion::v1) {
        on_event_v1();
        await_removal_v1();
        return;
    }
    std::array<std::byte, 512> content;
    const ssize_t size = sys::pread(events_.number(), content.data(), content.size(), 0);
    if (size < 0) {
        diag_.debug("Cgroup appears to have been removed, stopping OOM monitoring");
        watch_.close();
        events_.reset();
        return;
    }
    const sys::MemoryEvents now =
        sys::parse_memory_events(base::text_of(Bytes{content}.first(static_cast<size_t>(size))));
    if (now != seen_) {
        seen_ = now;
        leave_files();
    }
}

void OomWatch::leave_files() {
    has_left_files_ = true;
    ++counters_.oom_events;
    diag_.say(sys::Severity::info, "OOM received");
    for (const char* directory : directories_) {
        if (directory == nullptr || directory[0] == '\0') {
            continue;
        }
        Text<PATH_MAX> path;
        path.put(directory).put("/oom");
        if (const auto made = sys::touch(sys::working_directory(), path.c_str()); !made) {
            diag_.warning("Failed to leave the oom file, ignoring", made.error());
        }
    }
}

} // namespace monitor
