// The poller: events by source and slot, what is wanted and no more, and no stale event ever.

#include "shadow/faults.h"
#include "sys/poller.h"
#include "unit/sys/ours.h"

#include <array>
#include <map>

#include <sys/epoll.h>

using shadow::Faults;
using sys::Event;
using sys::Fd;
using sys::Instant;
using sys::Pipe;
using sys::Poller;
using sys::Source;
using sys::Watch;

namespace {

struct Loop {
    Poller poller = *Poller::create();
    Poller::Batch batch;

    // What is ready at this moment.
    std::span<const Event> ready() {
        const auto events = poller.wait(0, 0, batch);
        REQUIRE(events);
        return *events;
    }

    // The mask of the only event, which must be of `source`; 0: there is none.
    uint32_t mask_of(Source source) {
        const auto events = ready();
        if (events.empty()) {
            return 0;
        }
        REQUIRE(events.size() == 1);
        CHECK(events[0].source == source);
        CHECK(poller.is_current(events[0]));
        return events[0].mask;
    }
};

void put(const Fd& fd) {
    REQUIRE(::write(fd.number(), "x", 1) == 1);
}

} // namespace

TEST_CASE("an event names its source and slot and gives the mask") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::attach_client, 127, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    CHECK(loop.ready().empty());
    put(pipe.write_end);
    const auto events = loop.ready();
    REQUIRE(events.size() == 1);
    CHECK(events[0].source == Source::attach_client);
    CHECK(events[0].slot == 127);
    CHECK(events[0].mask == EPOLLIN);
    CHECK(loop.poller.is_current(events[0]));
}

TEST_CASE("every source has a place of its own") {
    Loop loop;
    std::array<Watch, sys::source_count> watches;
    std::array<Pipe, sys::source_count> pipes;
    for (size_t i = 0; i < watches.size(); ++i) {
        pipes[i] = *sys::make_pipe(O_NONBLOCK);
        watches[i] = Watch{loop.poller, static_cast<Source>(i), 0, std::move(pipes[i].read_end)};
        REQUIRE(watches[i].want(EPOLLIN));
        put(pipes[i].write_end);
    }
    watches[static_cast<size_t>(Source::standard_output)].close();
    const auto events = loop.ready();
    CHECK(events.size() == sys::source_count - 1);
    for (const Event& event : events) {
        CHECK(event.source != Source::standard_output);
        CHECK(loop.poller.is_current(event));
    }
}

TEST_CASE("an event in a batch is stale once its watch has been closed") {
    Loop loop;
    std::array<Watch, 2> watches;
    std::array<Pipe, 2> pipes;
    for (uint8_t slot = 0; slot < 2; ++slot) {
        pipes[slot] = *sys::make_pipe(O_NONBLOCK);
        watches[slot] =
            Watch{loop.poller, Source::attach_client, slot, std::move(pipes[slot].read_end)};
        REQUIRE(watches[slot].want(EPOLLIN));
        put(pipes[slot].write_end);
    }
    const auto events = loop.ready();
    REQUIRE(events.size() == 2);
    watches[1].close();
    for (const Event& event : events) {
        CHECK(loop.poller.is_current(event) == (event.slot == 0));
    }
}

TEST_CASE("an event stays stale when its number and slot are used again within the batch") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    const int number = pipe.read_end.number();
    Watch watch{loop.poller, Source::attach_client, 5, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    put(pipe.write_end);
    const auto events = loop.ready();
    REQUIRE(events.size() == 1);
    REQUIRE(loop.poller.is_current(events[0]));

    watch.close();
    const Pipe fresh = *sys::make_pipe(O_NONBLOCK);
    REQUIRE(fresh.read_end.number() == number); // the lowest free number
    Watch again{loop.poller, Source::attach_client, 5, Fd{::dup(fresh.read_end.number())}};
    REQUIRE(again.want(EPOLLIN));
    CHECK_FALSE(loop.poller.is_current(events[0]));

    put(fresh.write_end);
    const auto later = loop.ready();
    REQUIRE(later.size() == 1);
    CHECK(loop.poller.is_current(later[0]));
}

TEST_CASE("assigning a new watch over an old one makes the old one's events stale") {
    Loop loop;
    Pipe old = *sys::make_pipe(O_NONBLOCK);
    Pipe fresh = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::control, 0, std::move(old.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    put(old.write_end);
    const auto events = loop.ready();
    REQUIRE(events.size() == 1);
    watch = Watch{loop.poller, Source::control, 0, std::move(fresh.read_end)};
    CHECK_FALSE(loop.poller.is_current(events[0]));
    REQUIRE(watch.want(EPOLLIN));
    CHECK(loop.ready().empty());
    put(fresh.write_end);
    const auto later = loop.ready();
    REQUIRE(later.size() == 1);
    CHECK(loop.poller.is_current(later[0]));
}

TEST_CASE("moving a watch keeps its registration and its events current") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch one{loop.poller, Source::notify, 0, std::move(pipe.read_end)};
    REQUIRE(one.want(EPOLLIN));
    put(pipe.write_end);
    const auto events = loop.ready();
    REQUIRE(events.size() == 1);
    Watch two{std::move(one)};
    CHECK_FALSE(one.valid()); // NOLINT(bugprone-use-after-move)
    CHECK(loop.poller.is_current(events[0]));
    Watch three;
    three = std::move(two);
    CHECK(loop.poller.is_current(events[0]));
    CHECK(loop.mask_of(Source::notify) == EPOLLIN);
    REQUIRE(three.want(Watch::nothing));
    CHECK(loop.mask_of(Source::notify) == 0);
}

TEST_CASE("a watch that wants nothing does not hear of a hang-up") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::standard_output, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    pipe.write_end.reset();
    CHECK(loop.mask_of(Source::standard_output) == EPOLLHUP);
    REQUIRE(watch.want(Watch::nothing));
    CHECK(loop.mask_of(Source::standard_output) == 0);
    REQUIRE(watch.want(Watch::hang_up));
    CHECK(loop.mask_of(Source::standard_output) == EPOLLHUP);
    REQUIRE(watch.want(Watch::nothing));
    REQUIRE(watch.want(Watch::nothing));
    CHECK(loop.mask_of(Source::standard_output) == 0);
}

TEST_CASE("a watch that wants hang-ups alone does not hear of bytes") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::standard_output, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(Watch::hang_up));
    put(pipe.write_end);
    CHECK(loop.mask_of(Source::standard_output) == 0);
    pipe.write_end.reset();
    CHECK(loop.mask_of(Source::standard_output) == EPOLLHUP);
}

TEST_CASE("the same wish twice makes one system call, a changed one modifies") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::standard_input, 0, std::move(pipe.write_end)};
    const Faults faults;
    REQUIRE(watch.want(EPOLLOUT));
    REQUIRE(watch.want(EPOLLOUT));
    CHECK(faults.count("epoll_ctl") == 1);
    CHECK(loop.mask_of(Source::standard_input) == EPOLLOUT);
    REQUIRE(watch.want(Watch::hang_up));
    CHECK(loop.mask_of(Source::standard_input) == 0);
    CHECK(faults.count("epoll_ctl") == 2);
}

TEST_CASE("a closed watch is out of the set although another descriptor holds the same file") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    const Fd same{::dup(pipe.read_end.number())};
    Watch watch{loop.poller, Source::container, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    put(pipe.write_end);
    SECTION("by close") {
        watch.close();
    }
    SECTION("by take") {
        const Fd taken = watch.take();
        CHECK(taken.valid());
    }
    SECTION("by destruction") {
        const Watch dying = std::move(watch);
    }
    CHECK_FALSE(watch.valid());
    CHECK(loop.ready().empty());
}

TEST_CASE("take gives the descriptor open, and makes events stale") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::container, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    put(pipe.write_end);
    const auto events = loop.ready();
    REQUIRE(events.size() == 1);
    const Fd taken = watch.take();
    CHECK(unit::is_open(taken.number()));
    CHECK_FALSE(loop.poller.is_current(events[0]));
}

TEST_CASE("a file that cannot be polled is refused with EPERM, and the watch stays usable") {
    Loop loop;
    Fd file = *sys::open_at(sys::working_directory(), "/proc/self/exe", O_RDONLY, 0, "open");
    Watch watch{loop.poller, Source::standard_input, 0, std::move(file)};
    for (int i = 0; i < 2; ++i) {
        const auto wanted = watch.want(EPOLLIN);
        REQUIRE_FALSE(wanted);
        CHECK(wanted.error().code == EPERM);
        CHECK(wanted.error().call == "watch descriptor");
    }
    REQUIRE(watch.want(Watch::nothing));
    watch.close();
}

TEST_CASE("a change that is refused leaves the old wish in force, and is tried again") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::control, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    {
        const Faults faults("epoll_ctl", 1, ENOMEM);
        const auto wanted = watch.want(Watch::hang_up);
        REQUIRE_FALSE(wanted);
        CHECK(wanted.error().code == ENOMEM);
    }
    put(pipe.write_end);
    CHECK(loop.mask_of(Source::control) == EPOLLIN);
    REQUIRE(watch.want(Watch::hang_up));
    CHECK(loop.mask_of(Source::control) == 0);
}

TEST_CASE("a watch without a descriptor may be closed and wants nothing") {
    Watch watch;
    CHECK_FALSE(watch.valid());
    watch.close();
    CHECK(watch.want(Watch::nothing));
    Watch other{std::move(watch)};
    other = Watch{};
    CHECK_FALSE(other.valid());
}

TEST_CASE("waiting ends at the deadline, at once if that has passed, and at an interruption") {
    Loop loop;
    const Faults faults([](const shadow::Call& call) {
        return shadow::Instead{.error = call.name == "epoll_wait" && call.nth == 3 ? EINTR : 0};
    });
    const Instant start = sys::monotonic_ms();
    const auto in_time = loop.poller.wait(start, start + 20, loop.batch);
    REQUIRE(in_time);
    CHECK(in_time->empty());
    CHECK(sys::monotonic_ms() - start >= 19);
    const auto at_once = loop.poller.wait(start, start - 1'000'000, loop.batch);
    REQUIRE(at_once);
    CHECK(at_once->empty());
    const auto interrupted = loop.poller.wait(0, sys::never, loop.batch); // would wait for ever
    REQUIRE(interrupted);
    CHECK(interrupted->empty());
}

TEST_CASE("waiting without a limit, or with one far away, ends with the first event") {
    Loop loop;
    Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Watch watch{loop.poller, Source::control, 0, std::move(pipe.read_end)};
    REQUIRE(watch.want(EPOLLIN));
    put(pipe.write_end);
    for (const Instant deadline : {sys::never, sys::never - 1, Instant{INT32_MAX} * 3}) {
        const auto events = loop.poller.wait(0, deadline, loop.batch);
        REQUIRE(events);
        CHECK(events->size() == 1);
    }
}

TEST_CASE("more ready descriptors than a batch holds all have their turn") {
    Loop loop;
    constexpr size_t count = Poller::batch_max * 2 + 5;
    std::array<Watch, count> watches;
    std::array<Pipe, count> pipes;
    for (uint8_t slot = 0; slot < count; ++slot) {
        pipes[slot] = *sys::make_pipe(O_NONBLOCK);
        watches[slot] =
            Watch{loop.poller, Source::attach_client, slot, std::move(pipes[slot].read_end)};
        REQUIRE(watches[slot].want(EPOLLIN));
        put(pipes[slot].write_end);
    }
    std::map<uint8_t, int> turns;
    for (size_t i = 0; i < 3; ++i) {
        for (const Event& event : loop.ready()) {
            ++turns[event.slot];
        }
    }
    CHECK(turns.size() == count);
}

TEST_CASE("a failed wait names the step") {
    Loop loop;
    const Faults faults("epoll_wait", 1, EBADF);
    const auto events = loop.poller.wait(0, 0, loop.batch);
    REQUIRE_FALSE(events);
    CHECK(events.error().code == EBADF);
    CHECK(events.error().call == "wait for events");
}

TEST_CASE("closing thousands of watches leaves no descriptor and no registration") {
    const auto before = unit::open_descriptors();
    {
        Loop loop;
        for (int i = 0; i < 5000; ++i) {
            Pipe pipe = *sys::make_pipe(O_NONBLOCK);
            Watch watch{loop.poller, Source::attach_client, 7, std::move(pipe.read_end)};
            REQUIRE(watch.want(EPOLLIN));
            put(pipe.write_end);
        }
        CHECK(loop.ready().empty());
    }
    CHECK(unit::open_descriptors() == before);
}
