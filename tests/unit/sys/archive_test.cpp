// What is carried from one program to the next: saved and loaded by the same code, never beyond
// what fits, and readable by versions that know less or more of it.

#include "base/line_feed.h"
#include "base/ring.h"
#include "base/text.h"
#include "sys/archive.h"
#include "unit/monitor/heard.h"

#include <string>

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

using sys::Archive;
using sys::Fd;
using sys::FdRef;
using Task = Archive::Task;
using unit::Loop;

namespace {

Fd make_record(std::string_view content = {}) {
    Fd record{::memfd_create("state", MFD_CLOEXEC)};
    REQUIRE(::write(record.number(), content.data(), content.size()) ==
            static_cast<ssize_t>(content.size()));
    return record;
}

std::string content_of(const Fd& record) {
    struct stat status{};
    REQUIRE(::fstat(record.number(), &status) == 0);
    std::string content(static_cast<size_t>(status.st_size), '\0');
    REQUIRE(::pread(record.number(), content.data(), content.size(), 0) == status.st_size);
    return content;
}

struct Numbers {
    uint8_t small = 0;
    int32_t middle = 0;
    int64_t large = 0;
    bool flag = false;

    void carry(Archive& archive) {
        archive.carry(small);
        archive.carry_run(middle, flag);
    }
    bool operator==(const Numbers&) const = default;
};

// Whether `task` finds nothing wrong in `record`.
bool carry(Task task, FdRef record, auto& part, sys::Poller& poller) {
    Archive archive{task, record, poller};
    archive.begin();
    part.carry(archive);
    return archive.is_good();
}

bool has_close_on_exec(int number) {
    return (::fcntl(number, F_GETFD) & FD_CLOEXEC) != 0;
}

} // namespace

TEST_CASE("what was saved is loaded") {
    Loop loop;
    const Fd record = make_record();
    Numbers saved{.small = 1, .middle = -2, .large = INT64_MAX, .flag = true};
    REQUIRE(carry(Task::save, record, saved, loop.poller));
    CHECK(Archive::begins_record(record));
    for (const Task task : {Task::read, Task::adopt}) {
        Numbers loaded;
        CHECK(carry(task, record, loaded, loop.poller));
        CHECK(loaded == saved);
    }
    Numbers other;
    CHECK(carry(Task::expose, {}, other, loop.poller));
    CHECK(other == Numbers{});
}

TEST_CASE("a text, a line in pieces and a ring are loaded as they were") {
    Loop loop;
    std::array<std::byte, 64> storage;
    std::array<std::byte, 64> other_storage;
    struct Parts {
        base::Text<20> text;
        base::LineFeed<20> feed;
        base::Ring ring;

        void carry(Archive& archive) {
            text.carry(archive);
            feed.carry(archive);
            ring.carry(archive);
        }
    };
    Parts saved{.text = base::Text<20>{"a text"}, .feed = {}, .ring = base::Ring{storage}};
    const auto none = [](std::string_view) { FAIL("a line"); };
    saved.feed.feed("the begin", none, [] {});
    saved.ring.put(base::bytes_of(std::string(50, '-')));
    saved.ring.drained(45);
    saved.ring.put(base::bytes_of("wrapped around the end of it"));

    const Fd record = make_record();
    REQUIRE(carry(Task::save, record, saved, loop.poller));
    Parts loaded{.text = {}, .feed = {}, .ring = base::Ring{other_storage}};
    REQUIRE(carry(Task::read, record, loaded, loop.poller));
    CHECK(loaded.text.view() == "a text");
    std::string line;
    loaded.feed.feed("ning\n", [&](std::string_view whole) { line = whole; }, [] {});
    CHECK(line == "the beginning");
    std::string held;
    for (const base::Bytes span : loaded.ring.drainable()) {
        held += base::text_of(span);
    }
    CHECK(held == "-----wrapped around the end of it");
}

TEST_CASE("a version that knows of more keeps what that was made with") {
    Loop loop;
    struct Newer : Numbers {
        int32_t added = 77;

        void carry(Archive& archive) {
            Numbers::carry(archive);
            archive.carry(added);
        }
    };
    Numbers old{.small = 1, .middle = 2, .large = 3, .flag = true};
    Newer fresh;
    fresh.small = 9;
    fresh.added = 78;

    const Fd from_old = make_record();
    REQUIRE(carry(Task::save, from_old, old, loop.poller));
    Newer loaded;
    CHECK(carry(Task::read, from_old, loaded, loop.poller));
    CHECK(loaded.small == 1);
    CHECK(loaded.added == 77);

    const Fd from_fresh = make_record();
    REQUIRE(carry(Task::save, from_fresh, fresh, loop.poller));
    Numbers less;
    CHECK(carry(Task::read, from_fresh, less, loop.poller));
    CHECK(less.small == 9);
}

TEST_CASE("what is no record, of a later layout or of another machine is refused") {
    Loop loop;
    Numbers numbers{.small = 1, .middle = 2, .large = 3, .flag = true};
    const Fd record = make_record();
    REQUIRE(carry(Task::save, record, numbers, loop.poller));
    const std::string good = content_of(record);
    CHECK_FALSE(Archive::begins_record(make_record()));
    CHECK_FALSE(Archive::begins_record(make_record("mote")));
    CHECK_FALSE(Archive::begins_record(make_record("MOTE\nst\n")));
    for (const size_t at : {8, 12}) { // the layout, and the size of a pointer
        for (const char change : {1, 2, -1}) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] + change);
            Numbers loaded;
            CHECK_FALSE(carry(Task::read, make_record(bad), loaded, loop.poller));
            CHECK(loaded == Numbers{});
        }
    }
}

TEST_CASE("a record that ends within a member is refused, wherever that is") {
    Loop loop;
    Numbers numbers{.small = 1, .middle = 2, .large = 3, .flag = true};
    const Fd record = make_record();
    REQUIRE(carry(Task::save, record, numbers, loop.poller));
    const std::string good = content_of(record);
    size_t refused = 0;
    for (size_t size = 0; size < good.size(); ++size) {
        Numbers loaded;
        refused +=
            carry(Task::read, make_record(good.substr(0, size)), loaded, loop.poller) ? 0 : 1;
    }
    // Good are only those that end where a member begins. (That a whole record is cut off is not
    // possible: it is sealed when all is written.)
    CHECK(refused == good.size() - 3);
}

TEST_CASE("a length beyond what there is room for is refused, and nothing is written") {
    Loop loop;
    struct Part {
        std::array<std::byte, 8> storage{};
        size_t size = 0;

        void carry(Archive& archive) { archive.carry_bytes(storage, size); }
    };
    struct Larger {
        std::array<std::byte, 16> storage{};
        size_t size = 9;

        void carry(Archive& archive) { archive.carry_bytes(storage, size); }
    };
    Larger larger;
    larger.storage.fill(std::byte{1});
    const Fd record = make_record();
    REQUIRE(carry(Task::save, record, larger, loop.poller));
    Part part;
    CHECK_FALSE(carry(Task::read, record, part, loop.poller));
    CHECK(part.storage == std::array<std::byte, 8>{});
    larger.size = 8;
    const Fd fits = make_record();
    REQUIRE(carry(Task::save, fits, larger, loop.poller));
    CHECK(carry(Task::read, fits, part, loop.poller));
    CHECK(part.storage[7] == std::byte{1});
}

TEST_CASE(
    "a descriptor is inherited from exposing to hiding or adopting, and not opened on trial") {
    Loop loop;
    struct Part {
        sys::Fd fd;
        sys::Watch watch;

        void carry(Archive& archive) {
            archive.carry(fd);
            is_watched = archive.carry(watch, sys::Source::control);
        }
        bool is_watched = false;
    };
    sys::Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Part old{.fd = std::move(pipe.write_end),
             .watch = {loop.poller, sys::Source::control, 0, std::move(pipe.read_end)}};
    const int write_end = old.fd.number();
    const int read_end = old.watch.fd().number();
    REQUIRE(old.watch.want(EPOLLIN));

    const Fd record = make_record();
    REQUIRE(carry(Task::save, record, old, loop.poller));
    CHECK(has_close_on_exec(write_end));
    REQUIRE(carry(Task::expose, {}, old, loop.poller));
    CHECK_FALSE(has_close_on_exec(write_end));
    CHECK_FALSE(has_close_on_exec(read_end));
    REQUIRE(carry(Task::hide, {}, old, loop.poller));
    CHECK(has_close_on_exec(write_end));
    CHECK(has_close_on_exec(read_end));
    REQUIRE(carry(Task::expose, {}, old, loop.poller));

    Part trial;
    CHECK(carry(Task::read, record, trial, loop.poller));
    CHECK(trial.is_watched);
    CHECK_FALSE(trial.fd.valid());
    CHECK_FALSE(trial.watch.valid());

    // As after an exec: a new epoll, and the same numbers.
    Loop other;
    Part fresh;
    REQUIRE(carry(Task::adopt, record, fresh, other.poller));
    CHECK(fresh.fd.number() == write_end);
    CHECK(has_close_on_exec(write_end));
    CHECK(has_close_on_exec(read_end));
    REQUIRE(::write(write_end, "x", 1) == 1);
    size_t served = 0;
    other.run([&](const sys::Event& event) {
        CHECK(event.source == sys::Source::control);
        char one = 0;
        CHECK(::read(read_end, &one, 1) == 1);
        ++served;
    });
    CHECK(served == 1);
    (void)old.fd.release();
    (void)old.watch.take().release();
}

TEST_CASE("a descriptor that is not open, or is a standard stream, is refused") {
    Loop loop;
    struct Part {
        sys::Fd fd;

        void carry(Archive& archive) { archive.carry(fd); }
    };
    for (const int number : {0, 1, 2, 1000}) {
        Part old{.fd = Fd{number}};
        const Fd record = make_record();
        const bool is_saved = carry(Task::save, record, old, loop.poller);
        CHECK(is_saved == (number > 2));
        (void)old.fd.release();
        Part fresh;
        CHECK_FALSE(carry(Task::adopt, record, fresh, loop.poller));
        CHECK_FALSE(fresh.fd.valid());
    }
}
