// The watch for lack of memory on cgroup v2, whose file of counters is a plain one here: it is
// taken over from another program, as after an upgrade. The kernel's own files are in
// tests/vm/oom.bats.

#include "monitor/oom_watch.h"
#include "support/files.h"
#include "unit/monitor/heard.h"

#include <sys/mman.h>

using monitor::OomWatch;
using sys::Archive;
using sys::Fd;

namespace {

// What is carried of an OomWatch that has the file open.
struct Carried {
    Fd events;
    sys::MemoryEvents seen{};
    uint64_t unexplained = 0;
    bool has_left_files = false;
    sys::CgroupVersion version = sys::CgroupVersion::v2;

    void carry(Archive& archive) {
        sys::Watch no_watch;
        Fd no_group;
        archive.carry(no_watch, sys::Source::oom_watch);
        archive.carry(events);
        archive.carry(no_group);
        archive.carry_run(seen, version);
    }
};

struct Watched {
    unit::Loop loop;
    sys::Diag diag;
    monitor::Counters counters{};
    support::TempDir persist;
    Fd events{::open((persist / "memory.events").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    OomWatch watch{loop.poller, diag, counters, persist.path().c_str(), nullptr};

    Watched() {
        count("oom 0\noom_kill 0\n");
        const Fd record{::memfd_create("state", MFD_CLOEXEC)};
        Carried other{.events = Fd{::fcntl(events.number(), F_DUPFD_CLOEXEC, 3)}};
        Archive saved{Archive::Task::save, record, loop.poller};
        saved.begin();
        other.carry(saved);
        REQUIRE(saved.is_good());
        Archive adopted{Archive::Task::adopt, record, loop.poller};
        adopted.begin();
        watch.carry(adopted);
        REQUIRE(adopted.is_good());
        (void)other.events.release(); // the watch's now
    }

    void count(std::string_view counters) const {
        REQUIRE(::pwrite(events.number(), counters.data(), counters.size(), 0) ==
                static_cast<ssize_t>(counters.size()));
    }

    bool says_oom() const { return support::try_read_file(persist / "oom").has_value(); }
};

} // namespace

TEST_CASE(
    "memory.events is looked at again while the kernel tells of nothing new (regression 63)") {
    Watched watched;
    OomWatch& watch = watched.watch;
    CHECK(watch.deadline() == sys::never);
    watch.on_ready(1000); // the group has reached its limit, and nothing has been killed yet
    CHECK_FALSE(watched.says_oom());
    CHECK(watch.deadline() == 1001);
    watch.expire(1001);
    CHECK_FALSE(watched.says_oom());
    CHECK(watch.deadline() == 1003);
    watched.count("oom 1\noom_kill 1\n");
    watch.expire(1003);
    CHECK(watched.says_oom());
    CHECK(watched.counters.oom_events == 1);
    CHECK(watch.deadline() == 1007);
    watch.expire(1007);
    CHECK(watch.deadline() == 1015);
    watch.expire(1015); // the kernel may tell again; half a second without is a pause
    CHECK(watch.deadline() == 1527);
    watch.expire(1527);
    CHECK(watch.deadline() == sys::never);
    CHECK(watched.counters.oom_events == 1);
    watch.on_ready(2000);
    CHECK(watch.deadline() == 2001);
}

TEST_CASE(
    "a group that lives at its limit is looked at four times a second, until it has a pause") {
    Watched watched;
    OomWatch& watch = watched.watch;
    sys::Instant now = 1000;
    const auto be_told = [&] {
        watch.on_ready(now);
        return watch.deadline() - now;
    };
    const auto look = [&] {
        now = watch.deadline();
        watch.expire(now);
    };
    for (int told = 1; told < 10; ++told) {
        REQUIRE(be_told() == 1);
        for (int looks = 0; looks < 4; ++looks) {
            look();
        }
        REQUIRE(watch.deadline() - now == 512);
        ++now; // and there is news at once
    }
    for (int told = 0; told < 5; ++told) {
        REQUIRE(be_told() == 256);
        watched.count(std::string("oom 1\noom_kill ") + std::to_string(told + 1) + "\n");
        look();
        CHECK(watched.counters.oom_events == static_cast<uint64_t>(told) + 1);
        REQUIRE(watch.deadline() - now == 512);
        ++now;
    }
    look(); // nothing new for half a second
    CHECK(watch.deadline() == sys::never);
    CHECK(be_told() == 1);
}
