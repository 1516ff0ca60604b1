// The log file: limits, rotation and what may happen to it meanwhile. The central test makes each
// system call of each rotation fail in turn, and wants every line in exactly one file afterwards.

#include "record/k8s_file.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "unit/sys/ours.h"

#include <algorithm>
#include <array>
#include <vector>

#include <sys/file.h>
#include <sys/stat.h>

using record::K8sFile;
using record::K8sHead;
using record::Stream;
using record::Tag;
using shadow::Faults;
using shadow::Instead;
using support::names_in;
using support::read_file;
using support::TempDir;
using support::try_read_file;
using support::write_file;

namespace {

constexpr std::string_view stamp = "2026-01-31T23:59:59.123456789+05:30";

std::string record_of(std::string_view content) {
    return std::string(stamp) + " stdout F " + std::string(content) + "\n";
}

// A log in a directory of its own, whose lines are numbers.
class Log {
  public:
    explicit Log(const std::string& path, K8sFile::Settings settings = {}) : path_(path) {
        settings.name.path = path_.c_str();
        diag_.configure({.detail = sys::Severity::error, .subject = {}});
        file_.emplace(settings, ring_, counters_, diag_);
    }

    K8sFile& file() { return *file_; }
    sys::Diag& diag() { return diag_; }
    const record::Counters& counters() const { return counters_; }

    void put(std::string_view content) {
        const K8sHead head(stamp, Stream::standard_output);
        file_->record(head, Tag::full, base::bytes_of(content));
        file_->flush(0);
    }
    void count_to(int last) {
        while (number_ < last) {
            put(number(++number_));
        }
    }

    // Three digits, so that every record has the same size.
    static std::string number(int n) { return std::to_string(1000 + n).substr(1); }

  private:
    std::string path_;
    std::array<std::byte, 4096> ring_;
    record::Counters counters_{};
    sys::Diag diag_;
    std::optional<K8sFile> file_;
    int number_ = 0;
};

constexpr size_t number_record = K8sHead::size + 4;

// The numbers in a file; -1 for what is no record.
std::vector<int> numbers_in(const std::string& path) {
    std::vector<int> numbers;
    std::string text = try_read_file(path).value_or("");
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(at, end - at);
        const bool is_record = line.starts_with(stamp) && line.size() == number_record - 1;
        numbers.push_back(is_record ? std::stoi(line.substr(K8sHead::size)) : -1);
        at = end + 1;
    }
    return numbers;
}

// The numbers of all files of the log, the oldest first.
std::vector<int> all_numbers(const std::string& path, int backups) {
    std::vector<int> numbers;
    for (int slot = backups; slot >= 0; --slot) {
        const auto more = numbers_in(slot == 0 ? path : path + "." + std::to_string(slot));
        numbers.insert(numbers.end(), more.begin(), more.end());
    }
    return numbers;
}

std::vector<int> counted(int first, int last) {
    std::vector<int> numbers;
    for (int n = first; n <= last; ++n) {
        numbers.push_back(n);
    }
    return numbers;
}

} // namespace

TEST_CASE("a reopening that failed does not lift the limit of what comes later") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 200, .backups = 20});
    REQUIRE(log.file().open());
    log.put("first");
    support::fs::create_directories(path + ".new");
    log.file().reopen();
    REQUIRE(support::fs::remove(path + ".new"));
    // All in one turn.
    const K8sHead head(stamp, Stream::standard_output);
    for (int n = 0; n < 30; ++n) {
        log.file().record(head, Tag::full, base::bytes_of("more"));
    }
    log.file().flush(0);
    CHECK(names_in(directory.path()).size() == 8);
    for (const std::string& name : names_in(directory.path())) {
        CHECK(read_file(directory / name).size() <= 200);
    }
}

TEST_CASE("a write over the end of a page is shielded also where a torn head was cut off") {
    for (const size_t torn : {0, 40}) {
        const TempDir directory;
        const std::string path = directory / "log";
        const std::string whole = record_of(std::string(4090 - K8sHead::size - 1, 'x'));
        REQUIRE(whole.size() == 4090);
        write_file(path, whole + record_of("").substr(0, torn));
        Log log(path);
        REQUIRE(log.file().open());
        REQUIRE(read_file(path) == whole);
        const Faults faults([](const shadow::Call&) { return Instead{}; });
        log.put("over the end");
        CHECK(faults.count("clone") == 2); // the first one only shows that this can be done
        CHECK(read_file(path) == whole + record_of("over the end"));
    }
}

TEST_CASE("a reader that takes nothing is a file that refuses, after a while, until it takes "
          "something again") {
    const TempDir directory;
    const std::string path = directory / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Log log(path);
    K8sFile& file = log.file();
    REQUIRE(file.open());
    REQUIRE(file.is_paced());
    const auto flush_at = [&](sys::Instant now) { file.flush(now); };
    int records = 0;
    while (!file.waits_for_reader()) {
        REQUIRE(++records < 10'000);
        log.put("of forty-five bytes and more, so as to fill it");
    }
    CHECK(file.deadline() == record::stall_max_ms); // put() flushes at 0
    flush_at(record::stall_max_ms - 1);
    CHECK(file.waits_for_reader());
    CHECK(file.deadline() == record::stall_max_ms);
    // Somebody reads a little: the time begins again.
    const sys::Fd reader{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    std::vector<char> bytes(65'536);
    REQUIRE(::read(reader.number(), bytes.data(), 8192) == 8192);
    flush_at(record::stall_max_ms - 1);
    while (!file.waits_for_reader()) {
        ++records;
        file.record(K8sHead(stamp, Stream::standard_output), Tag::full, base::bytes_of("more"));
        flush_at(record::stall_max_ms - 1);
    }
    CHECK(file.deadline() == 2 * record::stall_max_ms - 1);
    flush_at(2 * record::stall_max_ms - 1);
    CHECK_FALSE(file.waits_for_reader());
    CHECK(file.holds_bytes());
    CHECK(file.deadline() != sys::never); // it is asked again
    for (int n = 0; n < 1000; ++n) {
        log.put("lost, but for what fits in memory");
        REQUIRE_FALSE(file.waits_for_reader());
    }
    CHECK(log.counters().lost_to_disk.records > 900);
    // Once it is read again, it is a file like any other.
    while (::read(reader.number(), bytes.data(), bytes.size()) > 0) {
        flush_at(file.deadline());
    }
    CHECK_FALSE(file.holds_bytes());
    CHECK(file.deadline() == sys::never);
}

TEST_CASE("a rotation is a ladder of renames from the oldest backup to the new file") {
    const auto steps = [](record::Slot top) {
        std::vector<record::Slot> slots;
        record::Ladder ladder{top};
        while (const auto slot = ladder.next()) {
            slots.push_back(*slot);
        }
        return slots;
    };
    CHECK(steps(3) == std::vector<record::Slot>{2, 1, 0, -1});
    CHECK(steps(1) == std::vector<record::Slot>{0, -1});
    CHECK(steps(0) == std::vector<record::Slot>{-1});
}

TEST_CASE("--log-max-files N keeps N backups, in order and without loss (regression 45)") {
    for (const int backups : {1, 2, 3, 5}) {
        const TempDir directory;
        const std::string path = directory / "log";
        Log log(path, {.size_max = 3 * number_record, .backups = backups});
        REQUIRE(log.file().open());
        log.count_to(100); // 33 full files and a line
        CHECK(all_numbers(path, backups + 2) == counted(100 - 3 * backups, 100));
        CHECK(names_in(directory.path()).size() == static_cast<size_t>(backups) + 1);
        CHECK(support::mode_of(path) == 0640);
    }
}

TEST_CASE("without rotation a full file is replaced, and only the newest lines survive") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 3 * number_record});
    REQUIRE(log.file().open());
    log.count_to(11);
    CHECK(numbers_in(path) == counted(10, 11));
    CHECK(names_in(directory.path()) == std::vector<std::string>{"log"});
}

TEST_CASE("a line that is longer than the limit is kept, alone") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 10});
    REQUIRE(log.file().open());
    log.count_to(5);
    CHECK(numbers_in(path) == counted(5, 5));
}

TEST_CASE("the size of an existing file counts (regression 44)") {
    const TempDir directory;
    const std::string path = directory / "log";
    write_file(path, std::string(1000, 'x') + "\n");
    Log log(path, {.size_max = 900, .backups = 1});
    REQUIRE(log.file().open());
    log.count_to(1);
    CHECK(numbers_in(path) == counted(1, 1));
    CHECK(read_file(path + ".1").size() == 1001);
}

TEST_CASE("whatever fails in a rotation, every line is in one file, in order") {
    constexpr int backups = 9;
    constexpr int last = 24;
    size_t tried = 0;
    for (const std::string_view call : {"openat", "fstatat", "renameat", "unlinkat", "fcntl"}) {
        for (const int failures : {1, 2, 3}) {
            for (int first = 1;; ++first) {
                const TempDir directory;
                const std::string path = directory / "log";
                const auto before = unit::open_descriptors();
                bool fired = false;
                {
                    Log log(path, {.size_max = 4 * number_record, .backups = backups});
                    REQUIRE(log.file().open());
                    const Faults faults([&](const shadow::Call& made) {
                        const bool fails =
                            made.name == call && made.nth >= first && made.nth < first + failures;
                        return Instead{.error = fails ? EIO : 0};
                    });
                    log.count_to(last);
                    fired = faults.fired();
                    log.file().finish(0);
                }
                CAPTURE(call, first, failures);
                CHECK(all_numbers(path, backups + 2) == counted(1, last));
                CHECK(unit::open_descriptors() == before);
                // What it leaves behind is what it would replace the next time.
                for (const std::string& name : names_in(directory.path())) {
                    CHECK((name == "log" || (name.starts_with("log.") && name != "log.tmp")));
                }
                ++tried;
                if (!fired) {
                    break;
                }
            }
        }
    }
    CHECK(tried > 60);
}

TEST_CASE("a disk that takes nothing costs no backup") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 3 * number_record, .backups = 2});
    REQUIRE(log.file().open());
    log.count_to(8); // 7 and 8 in the log, 4 to 6 and 1 to 3 behind it
    {
        const Faults faults([](const shadow::Call& call) {
            return Instead{.error = call.name == "write" || call.name == "writev" ? ENOSPC : 0};
        });
        log.count_to(20);
        // The log was not empty and is a backup now; its successor is, and stays.
        CHECK(all_numbers(path, 3) == counted(4, 8));
        CHECK(faults.count("renameat") <= 3);
    }
    log.count_to(21);
    CHECK(all_numbers(path, 3) == counted(7, 21));
}

TEST_CASE("a rotation that fails leaves the log its name") {
    for (int nth = 1; nth <= 3; ++nth) {
        const TempDir directory;
        const std::string path = directory / "log";
        Log log(path, {.size_max = 3 * number_record, .backups = 2});
        REQUIRE(log.file().open());
        log.count_to(6);
        const Faults faults("renameat", nth, EACCES);
        log.count_to(7);
        REQUIRE(faults.fired());
        // It is not locked any more. (Asked first: reading it here would unlock it.)
        CHECK(unit::in_copy([&] {
                  struct flock whole{};
                  whole.l_type = F_WRLCK;
                  const int file = ::open(path.c_str(), O_RDWR);
                  return std::string(::fcntl(file, F_SETLK, &whole) == 0 ? "" : "locked");
              }).empty());
        CHECK(numbers_in(path) == counted(4, 7));
        CHECK(names_in(directory.path()).size() == 2);
    }
}

TEST_CASE("whatever fails when a file is replaced, the newest lines are in it") {
    for (const std::string_view call : {"openat", "renameat", "unlinkat"}) {
        for (int nth = 1;; ++nth) {
            const TempDir directory;
            const std::string path = directory / "log";
            Log log(path, {.size_max = 4 * number_record});
            REQUIRE(log.file().open());
            const Faults faults(call, nth, EACCES);
            log.count_to(24);
            const std::vector<int> left = numbers_in(path);
            CAPTURE(call, nth);
            REQUIRE(!left.empty());
            CHECK(left == counted(left.front(), 24));
            if (!faults.fired()) {
                break;
            }
        }
    }
}

TEST_CASE("what a dead monitor has left under the temporary name does not matter (regression 46)") {
    for (const int backups : {0, 2}) {
        const TempDir directory;
        const std::string path = directory / "log";
        const std::string victim = directory / "victim";
        write_file(victim, "untouched");
        const std::string stale = path + (backups > 0 ? ".new" : ".tmp");
        SECTION("a file" + std::to_string(backups)) {
            write_file(stale, "stale");
        }
        SECTION("a link" + std::to_string(backups)) {
            REQUIRE(::symlink(victim.c_str(), stale.c_str()) == 0);
        }
        Log log(path, {.size_max = 3 * number_record, .backups = backups});
        REQUIRE(log.file().open());
        log.count_to(9);
        CHECK(numbers_in(path) == counted(7, 9));
        CHECK(support::type_of(stale) == 0);
        CHECK(support::type_of(path) == S_IFREG);
        CHECK(read_file(victim) == "untouched");
    }
}

TEST_CASE("a deleted log is made again, and costs no descriptor (regression 47)") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 3 * number_record, .backups = 2});
    REQUIRE(log.file().open());
    log.count_to(4);
    const auto before = unit::open_descriptors();
    for (int n = 5; n <= 100; ++n) {
        ::unlink(path.c_str());
        log.count_to(n);
    }
    CHECK(unit::open_descriptors() == before);
    log.count_to(103);
    CHECK(!numbers_in(path).empty());
    CHECK(numbers_in(path).back() == 103);
}

TEST_CASE("a log that was renamed away is left alone by a reopening (regression 49)") {
    for (const int backups : {0, 3}) {
        const TempDir directory;
        const std::string path = directory / "log";
        Log log(path, {.backups = backups});
        REQUIRE(log.file().open());
        write_file(path + ".1", "an older one");
        log.count_to(5);
        REQUIRE(::rename(path.c_str(), (directory / "away").c_str()) == 0);
        log.count_to(6); // before the reopening
        log.file().reopen();
        log.count_to(8);
        CHECK(numbers_in(directory / "away") == counted(1, 6));
        CHECK(numbers_in(path) == counted(7, 8));
        CHECK(read_file(path + ".1") == "an older one");
    }
}

TEST_CASE("with rotation a reopening makes a backup of the log and of what stands in its place") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.backups = 3});
    REQUIRE(log.file().open());
    log.count_to(2);
    log.file().reopen();
    log.count_to(4);
    CHECK(numbers_in(path + ".1") == counted(1, 2));
    REQUIRE(::rename(path.c_str(), (directory / "away").c_str()) == 0);
    write_file(path, "somebody's");
    log.file().reopen();
    log.count_to(5);
    CHECK(numbers_in(directory / "away") == counted(3, 4));
    CHECK(read_file(path + ".1") == "somebody's");
    CHECK(numbers_in(path + ".2") == counted(1, 2));
    CHECK(numbers_in(path) == counted(5, 5));
}

TEST_CASE("a log that somebody truncates gets no hole, after a reopening too (regression 48)") {
    for (const int backups : {0, 1}) {
        const TempDir directory;
        const std::string path = directory / "log";
        Log log(path, {.backups = backups});
        REQUIRE(log.file().open());
        log.count_to(3);
        log.file().reopen();
        log.count_to(6);
        REQUIRE(::truncate(path.c_str(), 0) == 0);
        log.count_to(7);
        CHECK(numbers_in(path) == counted(7, 7));
    }
}

TEST_CASE("while somebody has locked the log it is not rotated") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 3 * number_record, .backups = 2});
    REQUIRE(log.file().open());
    // In another process: locks of one do not hinder itself.
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int told[2];
    REQUIRE(::pipe(told) == 0);
    const pid_t locker = ::fork();
    if (locker == 0) {
        const int file = ::open(path.c_str(), O_RDWR);
        struct flock whole{};
        whole.l_type = F_WRLCK;
        const bool is_locked = ::fcntl(file, F_SETLK, &whole) == 0;
        (void)!::write(told[1], is_locked ? "y" : "n", 1);
        char byte = 0;
        ::close(ends[1]);
        (void)!::read(ends[0], &byte, 1);
        ::_exit(0);
    }
    char is_locked = 0;
    REQUIRE(::read(told[0], &is_locked, 1) == 1);
    REQUIRE(is_locked == 'y');
    log.count_to(10);
    CHECK(numbers_in(path) == counted(1, 10));
    ::close(ends[1]);
    REQUIRE(::waitpid(locker, nullptr, 0) == locker);
    log.count_to(11);
    CHECK(numbers_in(path) == counted(11, 11));
    CHECK(numbers_in(path + ".1") == counted(1, 10));
    ::close(ends[0]);
    ::close(told[0]);
    ::close(told[1]);
}

TEST_CASE("a batch leaves the files that its records one by one would leave") {
    const unsigned seed = 20261124;
    INFO("seed " << seed);
    std::mt19937 random{seed};
    const auto number = [&random](int from, int to) {
        return std::uniform_int_distribution{from, to}(random);
    };
    const K8sHead head(stamp, Stream::standard_error);
    for (int round = 0; round < 200; ++round) {
        const K8sFile::Settings settings{.size_max = number(0, 2) == 0 ? -1 : number(1, 9000),
                                         .global_size_max =
                                             number(0, 2) == 0 ? -1 : number(1, 30'000),
                                         .backups = number(0, 3)};
        const TempDir one;
        const TempDir other;
        Log singly(one / "log", settings);
        Log batched(other / "log", settings);
        REQUIRE(singly.file().open());
        REQUIRE(batched.file().open());
        uint64_t records = 0;
        uint64_t expected = 0;
        for (int turn = 0; turn < 10; ++turn) {
            const std::string text(static_cast<size_t>(number(1, 1900)), 'x');
            {
                K8sFile::Batch batch{batched.file(), records};
                for (int n = number(0, 20); n > 0; --n) {
                    ++expected;
                    const auto content = base::bytes_of(text).first(
                        static_cast<size_t>(number(0, static_cast<int>(text.size()))));
                    const Tag tag = number(0, 1) == 0 ? Tag::full : Tag::partial;
                    singly.file().record(head, tag, content);
                    batch.record(head, tag, content);
                }
            }
            singly.file().flush(0);
            batched.file().flush(0);
        }
        REQUIRE(records == expected);
        REQUIRE(batched.counters().rotations == singly.counters().rotations);
        REQUIRE(batched.counters().lost_to_limit.bytes == singly.counters().lost_to_limit.bytes);
        REQUIRE(names_in(one.path()) == names_in(other.path()));
        for (const std::string& name : names_in(one.path())) {
            REQUIRE(read_file(one / name) == read_file(other / name));
        }
    }
}

TEST_CASE("a disk that takes bytes again loses no record of the turn in which it does") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path);
    REQUIRE(log.file().open());
    const K8sHead head(stamp, Stream::standard_output);
    int last = 0;
    {
        const Faults faults([](const shadow::Call& call) {
            return Instead{.error = call.name == "write" ? ENOSPC : 0};
        });
        for (; last < 85; ++last) { // as many as fit the ring
            log.file().record(head, Tag::full, base::bytes_of("x"));
        }
        log.file().flush(0);
    }
    for (; last < 400; ++last) {
        log.file().record(head, Tag::full, base::bytes_of("x"));
    }
    log.file().flush(0);
    const std::string text = read_file(path);
    CHECK(std::count(text.begin(), text.end(), '\n') == last);
}

TEST_CASE("each record that a full disk costs is counted, and none that it takes later") {
    const bool mends = GENERATE(false, true);
    CAPTURE(mends);
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path);
    REQUIRE(log.file().open());
    const K8sHead head(stamp, Stream::standard_output);
    const auto record = [&](std::string_view content, int count) {
        for (int i = 0; i < count; ++i) {
            log.file().record(head, Tag::full, base::bytes_of(content));
        }
        log.file().flush(0);
    };
    record("taken", 10);
    {
        const Faults faults([](const shadow::Call& call) {
            return Instead{.error = call.name == "write" || call.name == "writev" ? ENOSPC : 0};
        });
        record("xyz", 200); // 83 fit the ring
        CHECK(log.counters().lost_to_disk.records == 200 - 83);
        CHECK(log.counters().lost_to_disk.bytes == (200 - 83) * 3);
        if (!mends) {
            log.file().finish(0);
        }
    }
    if (mends) {
        record("again", 20);
        log.file().finish(0);
    }
    const std::string text = read_file(path);
    const auto written = static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
    CHECK(written == (mends ? 10 + 83 + 20 : 10));
    CHECK(log.counters().lost_to_disk.records == (mends ? 200 - 83 : 200));
    CHECK(log.counters().lost_to_disk.bytes == log.counters().lost_to_disk.records * 3);
}

TEST_CASE("a reopening that is asked for is tried although a record has asked in vain") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path, {.size_max = 3 * number_record, .backups = 2});
    REQUIRE(log.file().open());
    log.count_to(3);
    const K8sHead head(stamp, Stream::standard_output);
    {
        const Faults faults("renameat", 1, EACCES);
        log.file().record(head, Tag::full, base::bytes_of("004")); // its rotation fails
        REQUIRE(faults.fired());
    }
    log.file().reopen(); // in the same turn
    CHECK(numbers_in(path + ".1") == counted(1, 4));
}

TEST_CASE("a log directory that has vanished is a warning, and logging resumes (regression 6)") {
    for (const int backups : {0, 2}) {
        const TempDir directory;
        const std::string place = directory / "place";
        REQUIRE(::mkdir(place.c_str(), 0755) == 0);
        const std::string path = place + "/log";
        Log log(path, {.size_max = 3 * number_record, .backups = backups});
        REQUIRE(log.file().open());
        log.count_to(2);
        support::fs::remove_all(place);
        log.count_to(20);
        log.file().reopen();
        REQUIRE(::mkdir(place.c_str(), 0755) == 0);
        log.file().flush(0); // a new turn
        log.file().reopen();
        log.count_to(22);
        CHECK(numbers_in(path) == counted(21, 22));
    }
}

TEST_CASE("a log that is not a file is not replaced") {
    const TempDir directory;
    const std::string path = directory / "log";
    REQUIRE(::symlink("/dev/null", path.c_str()) == 0);
    Log log(path, {.size_max = 10, .backups = 1});
    REQUIRE(log.file().open());
    log.count_to(5);
    log.file().reopen();
    {
        // What has no size is not written record by record either.
        const Faults faults;
        const K8sHead head(stamp, Stream::standard_output);
        uint64_t records = 0;
        K8sFile::Batch batch{log.file(), records};
        for (int i = 0; i < 50; ++i) {
            batch.record(head, Tag::full, base::bytes_of("x"));
        }
        CHECK(faults.count("write") == 0);
    }
    CHECK(support::fs::read_symlink(path) == "/dev/null");
    CHECK(names_in(directory.path()) == std::vector<std::string>{"log"});
}

TEST_CASE("only allowed directories, and what is below them, may hold the log") {
    const TempDir directory;
    const std::string good = directory / "good";
    const std::string similar = directory / "goods";
    support::fs::create_directories(good + "/below/it");
    support::fs::create_directories(similar);
    REQUIRE(::symlink(good.c_str(), (directory / "link").c_str()) == 0);
    REQUIRE(::symlink(similar.c_str(), (good + "/out").c_str()) == 0);
    const std::string link = directory / "link";

    const auto opens = [&](const std::string& path, const std::string& allowed) {
        const std::array<const char*, 3> directories{"", "/does/not/exist", allowed.c_str()};
        Log log(path, {.name = {.allowed_directories = directories}});
        const auto opened = log.file().open();
        if (!opened) {
            CHECK((opened.error().code == EPERM || opened.error().code == ELOOP));
            CHECK(support::type_of(path) != S_IFREG);
        }
        return opened.has_value();
    };
    CHECK(opens(good + "/log", good));
    CHECK(opens(good + "/below/it/log", good));
    CHECK(opens(link + "/below/log", good));
    CHECK(opens(good + "/below/log2", link));
    CHECK(opens(good + "/below/../log3", good));
    CHECK(opens(good + "/log4", "/"));
    CHECK_FALSE(opens(similar + "/log", good));
    CHECK_FALSE(opens(directory / "log", good));
    CHECK_FALSE(opens(good + "/out/log", good));
    CHECK_FALSE(opens(good + "/../goods/log", good));
    REQUIRE(::symlink((similar + "/victim").c_str(), (good + "/sly").c_str()) == 0);
    CHECK_FALSE(opens(good + "/sly", good));
    CHECK(support::type_of(similar + "/victim") == 0);
}

TEST_CASE("a directory that is not allowed any more keeps the log from being rotated there") {
    const TempDir directory;
    const std::string good = directory / "good";
    const std::string bad = directory / "bad";
    support::fs::create_directories(good + "/place");
    support::fs::create_directories(bad);
    const std::string path = good + "/place/log";
    const std::array<const char*, 1> allowed{good.c_str()};
    Log log(
        path,
        {.name = {.allowed_directories = allowed}, .size_max = 3 * number_record, .backups = 2});
    REQUIRE(log.file().open());
    log.count_to(3);
    REQUIRE(::rename((good + "/place").c_str(), (good + "/old").c_str()) == 0);
    REQUIRE(::symlink(bad.c_str(), (good + "/place").c_str()) == 0);
    log.count_to(8);
    CHECK(names_in(bad).empty());
    CHECK(numbers_in(good + "/old/log") == counted(1, 8));
    REQUIRE(::unlink((good + "/place").c_str()) == 0);
    REQUIRE(::rename((good + "/old").c_str(), (good + "/place").c_str()) == 0);
    log.count_to(9);
    CHECK(numbers_in(path) == counted(9, 9));
    CHECK(numbers_in(path + ".1") == counted(1, 8));
}

TEST_CASE("a record that a killed monitor has begun does not spoil the next one") {
    const std::string whole = record_of("whole");
    struct {
        std::string found;
        std::string kept;
    } const cases[] = {
        {"", ""},
        {whole, whole},
        // Content has been written: its line is ended.
        {whole + record_of("begun").substr(0, 48), whole + record_of("begun").substr(0, 48) + "\n"},
        {record_of("begun").substr(0, 49), record_of("begun").substr(0, 49) + "\n"},
        {std::string(5000, '7'), std::string(5000, '7') + "\n"},
        // Not even the head is whole: nothing of the container's is in it.
        {whole + record_of("x").substr(0, 44), whole},
        {whole + "2", whole},
        {record_of("x").substr(0, 30), ""},
        // What is not ours stays.
        {"note", "note\n"},
        {whole + "note", whole + "note\n"},
    };
    for (const auto& each : cases) {
        const TempDir directory;
        const std::string path = directory / "log";
        write_file(path, each.found);
        Log log(path, {.size_max = static_cast<int64_t>(each.kept.size()) + 49});
        REQUIRE(log.file().open());
        CHECK(read_file(path) == each.kept);
        log.put("new");
        // With the size counted rightly, this one record still fits.
        CHECK(read_file(path) == each.kept + record_of("new"));
    }
}

TEST_CASE("limits count what is written, the global one for good") {
    const TempDir directory;
    const std::string path = directory / "log";
    Log log(path,
            {.size_max = 3 * number_record, .global_size_max = 8 * number_record, .backups = 9});
    REQUIRE(log.file().open());
    log.count_to(50);
    CHECK(all_numbers(path, 9) == counted(1, 8));
}
