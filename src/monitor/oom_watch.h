// OomWatch: notices that the kernel killed something in the container for want of memory, and
// leaves the empty files that callers look for: `oom` in the persist directory and in the bundle.
//
//     cgroup v1: an eventfd registered for memory.oom_control, which the removal of the group fires
//     too.
//
//     cgroup v2: memory.events, whose counters are compared with those last seen. The file stays
//     open, so that it can be read while the group is being removed. It tells of a change by
//     EPOLLPRI, sooner than inotify, of which a user may have 128 only. But in the 10 ms after the
//     kernel has told of one change it tells of no other, and the first is that the group has
//     reached its limit; so it is looked at again meanwhile. A group that lives at its limit
//     changes them thousands of times a second; that one is looked at four times a second.
//
// Nothing here is fatal: without a memory controller the container runs unwatched.
#pragma once

#include "base/text.h"
#include "monitor/account.h"
#include "sys/archive.h"
#include "sys/cgroup.h"
#include "sys/clock.h"
#include "sys/diag.h"
#include "sys/poller.h"

namespace monitor {

class OomWatch {
  public:
    // The directories may be nullptr; they live as long as the part.
    OomWatch(sys::Poller& poller,
             sys::Diag& diag,
             Counters& counters,
             const char* persist_dir,
             const char* bundle)
        : poller_{poller}, diag_{diag}, counters_{counters}, directories_{persist_dir, bundle} {}

    // Watches the group that `pid` is in.
    void start(pid_t pid);

    void on_ready(sys::Instant now);

    // When expire wants to be called; sys::never while nothing is awaited.
    [[nodiscard]] sys::Instant deadline() const { return look_at_; }
    void expire(sys::Instant now);

    // Looks once more, at the end of the container.
    void check();

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    base::Result<void> start_v1(std::string_view group);
    base::Result<void> start_v2(std::string_view group);
    void watch_events_v2();
    void on_event_v1();
    void await_removal_v1();
    void leave_files();

    sys::Poller& poller_;
    sys::Diag& diag_;
    Counters& counters_;
    const char* directories_[2];
    sys::Watch watch_;
    sys::Fd events_; // v2: memory.events. v1: memory.oom_control, open as long as the eventfd
    sys::Fd group_;  // v1: the group's directory, to see whether it is still there
    sys::MemoryEvents seen_; // v2
    // v1: events read since the group has gone, one of which is its removal
    uint64_t unexplained_ = 0;
    bool has_left_files_ = false;
    sys::CgroupVersion version_ = sys::CgroupVersion::v1;
    // v2, not carried: when to look again, how long we wait for that (calm_ms: that the kernel
    // tells of nothing, which is a pause), and how often we have been told of changes since a pause
    sys::Instant look_at_ = sys::never;
    int look_after_ms_ = 0;
    int told_ = 0;
};

} // namespace monitor
