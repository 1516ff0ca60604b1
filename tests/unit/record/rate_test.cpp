// The limit of what is recorded in a second: what it lets through, what it drops, and what is said
// of that. Lines carry numbers, so that it shows which are missing.

#include "record/recorder.h"
#include "support/files.h"
#include "unit/sys/ours.h"

#include <charconv>
#include <memory>
#include <random>
#include <vector>

using record::Excess;
using record::Pause;
using record::RateLimit;
using record::Recorder;
using record::Stream;
using support::TempDir;
using sys::Instant;

namespace {

constexpr std::string_view notice_head = "mote: dropped by MOTE_LOG_RATE, records lost: ";

// A recorder into a file, and what is brought to it, piece by piece, as Output does: what is not
// consumed comes again with the next piece.
struct Limited {
    TempDir directory;
    std::string path = directory / "log";
    sys::Diag diag;
    sys::Zone zone = sys::Zone::create("UTC");
    std::vector<std::byte> ring = std::vector<std::byte>(131'072);
    std::unique_ptr<record::Journal::Storage> storage =
        std::make_unique_for_overwrite<record::Journal::Storage>();
    record::Counters counters{};
    Recorder recorder;
    std::string held[record::stream_count];
    Instant now = 1'000'000;

    explicit Limited(RateLimit limit, size_t record_max = 16'384)
        : recorder{{.k8s_file = {.name = {.path = path.c_str()}},
                    .journal = {},
                    .rate = limit,
                    .record_max = record_max},
                   ring,
                   *storage,
                   zone,
                   counters,
                   diag} {
        REQUIRE(recorder.open());
    }

    void bring(std::string_view text,
               Pause pause = Pause::more_to_come,
               Stream stream = Stream::standard_output) {
        std::string& rest = held[static_cast<size_t>(stream)];
        rest += text;
        rest.erase(0, recorder.keep(stream, base::bytes_of(rest), pause, now));
        CHECK((pause == Pause::more_to_come || rest.empty()));
        end_turn();
    }
    void end_turn() {
        if (recorder.deadline() <= now) {
            recorder.expire(now);
        }
        recorder.flush(now);
    }
    void pass(Instant ms) {
        now += ms;
        end_turn();
    }
    void end() { recorder.finish(now); }

    // "F content" lines of one stream.
    std::string records(std::string_view stream = "stdout") const {
        std::string all;
        const std::string text = support::read_file(path);
        for (size_t at = 0; at < text.size();) {
            const size_t end = text.find('\n', at);
            REQUIRE(end != std::string::npos);
            if (text.substr(at + 36, 6) == stream) {
                all += text.substr(at + 43, end + 1 - at - 43);
            }
            at = end + 1;
        }
        return all;
    }
    [[nodiscard]] const record::Loss& lost() const { return counters.lost_to_rate; }
};

std::string lines(int first, int last) {
    std::string text;
    for (int n = first; n <= last; ++n) {
        text += std::to_string(1'000'000 + n) + "\n";
    }
    return text;
}

std::string records_of(int first, int last) {
    std::string text;
    for (int n = first; n <= last; ++n) {
        text += "F " + std::to_string(1'000'000 + n) + "\n";
    }
    return text;
}

std::string notice(uint64_t records, uint64_t bytes) {
    return "F " + std::string(notice_head) + std::to_string(records) +
           ", bytes lost: " + std::to_string(bytes) + "\n";
}

constexpr RateLimit eighty{.bytes_per_second = 80, .burst = 160, .excess = Excess::drop};

} // namespace

TEST_CASE("without a limit all is recorded, and nothing waits") {
    Limited f{{}};
    f.bring(lines(1, 5000));
    CHECK(f.records() == records_of(1, 5000));
    CHECK(f.recorder.spend(Stream::standard_output, 1 << 30, f.now) == SIZE_MAX);
    CHECK(f.recorder.deadline() == sys::never);
    CHECK_FALSE(f.lost().any());
}

TEST_CASE("a burst passes, then whole lines are dropped, and a second later that is said") {
    Limited f{eighty};
    f.bring(lines(1, 30)); // of 8 bytes each
    CHECK(f.records() == records_of(1, 20));
    CHECK(f.lost().records == 10);
    CHECK(f.lost().bytes == 70);
    CHECK(f.counters.streams[0].records == 30);
    CHECK(f.recorder.deadline() == f.now + 1000);
    f.pass(999);
    CHECK(f.records() == records_of(1, 20));
    f.pass(1);
    CHECK(f.records() == records_of(1, 20) + notice(10, 70));
    CHECK(f.recorder.deadline() == sys::never);
    // A second has brought 80 bytes.
    f.bring(lines(31, 50));
    CHECK(f.records() == records_of(1, 20) + notice(10, 70) + records_of(31, 40));
    f.end();
    CHECK(f.records() == records_of(1, 20) + notice(10, 70) + records_of(31, 40) + notice(10, 70));
}

TEST_CASE("drop-silently drops the same and says nothing") {
    Limited f{{.bytes_per_second = 80, .burst = 160, .excess = Excess::drop_silently}};
    f.bring(lines(1, 30));
    CHECK(f.recorder.deadline() == sys::never);
    f.pass(2000);
    f.bring(lines(31, 50));
    f.end();
    CHECK(f.records() == records_of(1, 20) + records_of(31, 50));
    CHECK(f.lost().records == 10);
}

TEST_CASE("a stream that floods costs the other stream nothing, and each has its own notice") {
    Limited f{eighty};
    f.bring(lines(1, 1000));
    f.bring(lines(1, 10), Pause::more_to_come, Stream::standard_error);
    f.pass(1000);
    CHECK(f.records("stderr") == records_of(1, 10));
    CHECK(f.records() == records_of(1, 20) + notice(980, 6860));
    f.bring(lines(11, 100), Pause::more_to_come, Stream::standard_error);
    f.end();
    CHECK(f.records("stderr").ends_with(notice(100 - 10 - 20, (100 - 10 - 20) * 7)));
}

TEST_CASE("there is one notice a second however long the flood lasts") {
    Limited f{eighty};
    for (int n = 0; n < 1000; ++n) { // 10 s
        f.bring(lines(n * 10 + 1, n * 10 + 10));
        f.pass(10);
    }
    f.end();
    const std::string records = f.records();
    size_t notices = 0;
    uint64_t missing = 0;
    for (size_t at = 0; (at = records.find(notice_head, at)) != std::string::npos;) {
        at += notice_head.size();
        uint64_t number = 0;
        std::from_chars(records.data() + at, records.data() + records.size(), number);
        missing += number;
        ++notices;
    }
    CHECK(notices >= 9);
    CHECK(notices <= 11);
    CHECK(missing == f.lost().records);
    const auto kept = static_cast<uint64_t>(std::count(records.begin(), records.end(), '\n'));
    CHECK(kept - notices + missing == 10'000);
    // The burst, and the rate for ten seconds.
    CHECK(kept - notices >= 20 + 98);
    CHECK(kept - notices <= 20 + 102);
}

TEST_CASE("a line that is longer than the burst passes once, and is owed") {
    Limited f{eighty};
    const std::string line(1000, 'x');
    f.bring(line + "\n" + line + "\n");
    CHECK(f.records() == "F " + line + "\n");
    f.pass(5000); // 400 bytes: still owed
    f.bring("y\n");
    f.pass(6000);
    f.bring("z\n");
    f.end();
    CHECK(f.records() == "F " + line + "\n" + notice(1, 1000) + notice(1, 1) + "F z\n");
}

TEST_CASE("a line that began is recorded to its end, one that was dropped is to its end too") {
    Limited f{{.bytes_per_second = 10, .burst = 10, .excess = Excess::drop}, 100};
    f.bring("0123456789", Pause::paused); // the bucket is empty, and the line goes on
    f.bring("abc\nnext\n");
    f.bring("lo", Pause::paused);
    f.now += 10'000;
    f.bring("st\nkept\n");
    f.end();
    CHECK(f.records() == "P 0123456789\nF abc\n" + std::string("F kept\n") + notice(3, 8));
}

TEST_CASE("a line without an end that begins to be dropped is ended in the log") {
    Limited f{{.bytes_per_second = 10, .burst = 150, .excess = Excess::drop}, 100};
    f.bring(std::string(1050, 'x')); // 100 are kept, 100 more are owed, 800 dropped, 50 held back
    CHECK(f.records() == "P " + std::string(100, 'x') + "\nP " + std::string(100, 'x') + "\nF \n");
    CHECK(f.lost().records == 8);
    f.now += 100'000;
    f.bring("yy\nnext\n"); // the rest of the line is not worth anything without its middle
    f.end();
    CHECK(f.records().ends_with("xF \n" + notice(9, 852) + "F next\n") == false);
    CHECK(f.records().find("yy") == std::string::npos);
    CHECK(f.records().find("F next\n") != std::string::npos);
    CHECK(f.lost().bytes == 852);
}

TEST_CASE("a notice does not tear a line that goes on, except at the end") {
    Limited f{{.bytes_per_second = 10, .burst = 10, .excess = Excess::drop}, 100};
    f.bring("0123456789\ndropped\n");
    f.now += 500;
    f.bring("part", Pause::paused);
    CHECK(f.records() == "F 0123456789\nP part\n");
    f.pass(600);
    CHECK(f.records() == "F 0123456789\nP part\n");
    CHECK(f.recorder.deadline() == sys::never); // nobody is woken for a line that stays as it is
    SECTION("it ends") {
        f.bring("ner\n");
        CHECK(f.records() == "F 0123456789\nP part\nF ner\n" + notice(1, 7));
    }
    SECTION("it does not") {
        f.end();
        CHECK(f.records() == "F 0123456789\nP part\nF \n" + notice(1, 7));
    }
}

TEST_CASE("what comes after the limit was lifted is recorded as it is") {
    Limited f{eighty};
    f.bring(lines(1, 100));
    f.recorder.end_of_container();
    f.bring(lines(101, 10'000), Pause::final);
    f.end();
    CHECK(f.records() == records_of(1, 20) + records_of(101, 10'000) + notice(80, 560));
}

TEST_CASE("who waits may read the burst, then nothing for a while, then what has come meanwhile") {
    Limited f{{.bytes_per_second = 1000, .burst = 5000, .excess = Excess::wait}};
    const Stream out = Stream::standard_output;
    CHECK(f.recorder.spend(out, 0, f.now) == 5000);
    CHECK(f.recorder.spend(out, 4000, f.now) == 1000);
    CHECK_FALSE(f.recorder.waits_for_rate(out));
    CHECK(f.recorder.spend(out, 1000, f.now) == 0);
    CHECK(f.recorder.waits_for_rate(out));
    CHECK_FALSE(f.recorder.waits_for_rate(Stream::standard_error));
    const Instant due = f.recorder.deadline();
    CHECK(due > f.now);
    CHECK(due <= f.now + 200);
    f.pass(due - f.now - 1);
    CHECK(f.recorder.waits_for_rate(out));
    f.pass(1);
    CHECK_FALSE(f.recorder.waits_for_rate(out));
    CHECK(f.recorder.deadline() == sys::never);
    CHECK(f.recorder.spend(out, 0, f.now) == 100);
    f.pass(60'000);
    CHECK(f.recorder.spend(out, 0, f.now) == 5000);
    CHECK(f.counters.rate_waits == 1);
    CHECK(f.counters.rate_wait_ms == 100);
    CHECK_FALSE(f.lost().any());
}

TEST_CASE("a rate of one byte a second waits and does not spin") {
    Limited f{{.bytes_per_second = 1, .burst = 1, .excess = Excess::wait}};
    const Stream out = Stream::standard_output;
    size_t read = 0;
    size_t wakes = 0;
    for (const Instant end = f.now + 20'000; f.now < end;) {
        const size_t most = f.recorder.spend(out, 0, f.now);
        if (most != 0) {
            (void)f.recorder.spend(out, most, f.now);
            read += most;
        }
        REQUIRE(f.recorder.waits_for_rate(out));
        const Instant due = f.recorder.deadline();
        REQUIRE(due > f.now);
        f.pass(due - f.now);
        ++wakes;
    }
    CHECK(read >= 20);
    CHECK(read <= 21);
    CHECK(wakes <= 200);
}

TEST_CASE("a clock that has run for years, the largest rate and the largest burst are in range") {
    const Excess excess = GENERATE(Excess::wait, Excess::drop);
    Limited f{{.bytes_per_second = 1'000'000'000, .burst = 1'000'000'000, .excess = excess}};
    f.now = Instant{100} * 365 * 24 * 60 * 60 * 1000;
    f.bring(lines(1, 1000));
    CHECK(f.records() == records_of(1, 1000));
    if (excess == Excess::wait) {
        CHECK(f.recorder.spend(Stream::standard_output, 1'000'000'000, f.now) == 0);
        f.now *= 2;
        CHECK(f.recorder.spend(Stream::standard_output, 0, f.now) == 1'000'000'000);
    }
}

TEST_CASE("whatever comes in whatever pieces, lines are whole, in order, and all accounted for") {
    for (unsigned seed = 1; seed <= 60; ++seed) {
        std::mt19937 random(seed);
        const auto number = [&](int least, int most) {
            return std::uniform_int_distribution<int>(least, most)(random);
        };
        const auto rate = static_cast<uint32_t>(number(1, 3) == 1 ? 500 : 20'000);
        Limited f{{.bytes_per_second = rate,
                   .burst = static_cast<uint32_t>(number(1, 5000)),
                   .excess = Excess::drop}};
        std::string text;
        int count = 0;
        while (text.size() < 200'000) {
            text += std::to_string(++count) + "," +
                    std::string(static_cast<size_t>(number(0, number(0, 300))), 'x') + ";\n";
        }
        for (size_t at = 0; at < text.size();) {
            const auto size = std::min<size_t>(text.size() - at, number(1, number(1, 5000)));
            f.bring(std::string_view{text}.substr(at, size));
            at += size;
            f.pass(number(0, 40));
        }
        f.recorder.end_of_container();
        f.end();
        CAPTURE(seed);
        const std::string records = f.records();
        uint64_t kept = 0;
        uint64_t kept_bytes = 0;
        uint64_t missing = 0;
        int last = 0;
        for (size_t at = 0; at < records.size();) {
            const size_t end = records.find('\n', at);
            const std::string_view record{records.data() + at, end - at};
            at = end + 1;
            int n = 0;
            if (record.starts_with("F mote:")) {
                const size_t from = 2 + notice_head.size();
                std::from_chars(record.data() + from, record.data() + record.size(), n);
                missing += static_cast<uint64_t>(n);
                continue;
            }
            std::from_chars(record.data() + 2, record.data() + record.size(), n);
            REQUIRE(record.starts_with("F " + std::to_string(n) + ","));
            REQUIRE(record.ends_with(";"));
            REQUIRE(n > last);
            last = n;
            ++kept;
            kept_bytes += record.size() - 2;
        }
        CHECK(kept + missing == static_cast<uint64_t>(count));
        CHECK(missing == f.lost().records);
        CHECK(kept_bytes + f.lost().bytes + static_cast<uint64_t>(count) == text.size());
        CHECK(missing > 0);
        CHECK(kept > 0);
    }
}
