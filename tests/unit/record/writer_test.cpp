// The writer against a model, over a file that takes random short amounts and refuses in every way
// that disks do: what reaches the file is whole records, in order, each once; whatever does not is
// counted.

#include "record/writer.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "sys/fd.h"

#include <cerrno>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

using record::Loss;
using record::Writer;
using shadow::Call;
using shadow::Faults;
using shadow::Instead;
using support::TempDir;
using sys::Fd;

namespace {

Fd open_log(const std::string& path) {
    return Fd{::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600)};
}

void put(Writer& writer, std::string_view head, std::string_view content) {
    (void)writer.put(base::bytes_of(head), base::bytes_of(content));
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size();) {
        const size_t end = text.find('\n', at);
        if (end == std::string::npos) {
            lines.push_back(text.substr(at) + "<torn>");
            break;
        }
        lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

struct Small {
    TempDir directory;
    std::string path = directory / "log";
    std::vector<std::byte> storage = std::vector<std::byte>(64);
    Writer writer{storage};

    Small() { writer.set_file(open_log(path)); }
    std::string content() const { return support::read_file(path); }
};

} // namespace

TEST_CASE("a record is its head, its content and its end, written once at the flush") {
    Small small;
    const Faults faults;
    put(small.writer, "head ", "one");
    put(small.writer, "head ", "");
    CHECK(small.content().empty());
    CHECK(small.writer.holds_bytes());
    CHECK(small.writer.held() == 15);
    small.writer.flush();
    CHECK(small.content() == "head one\nhead \n");
    CHECK_FALSE(small.writer.holds_bytes());
    CHECK(small.writer.written() == 15);
    CHECK(faults.count("write") + faults.count("writev") == 1);
    small.writer.flush();
    CHECK(faults.count("write") + faults.count("writev") == 1);
    CHECK_FALSE(small.writer.loss().any());
}

TEST_CASE("a full ring is flushed to make room, and only what does not fit then is lost") {
    Small small;
    for (int i = 0; i < 10; ++i) {
        put(small.writer, "head ", "0123456789");
    }
    CHECK_FALSE(small.writer.loss().any());
    small.writer.flush();
    CHECK(lines_of(small.content()).size() == 10);

    const Faults faults(
        [](const Call& call) { return Instead{.error = call.name == "write" ? ENOSPC : 0}; });
    for (int i = 0; i < 10; ++i) {
        put(small.writer, "head ", "0123456789");
    }
    const Loss lost = small.writer.take_loss();
    CHECK(lost.records == 6); // of 16 bytes each, 64 hold 4
    CHECK(lost.bytes == 60);
    CHECK_FALSE(small.writer.loss().any());
}

TEST_CASE("what is filled at once goes out before it is more than one write is to bring") {
    const TempDir directory;
    const std::string path = directory / "log";
    std::vector<std::byte> storage(1 << 17);
    Writer writer{storage};
    writer.set_file(open_log(path));
    const size_t most = writer.fillable().size();
    REQUIRE(most < storage.size());
    std::string expected;
    {
        const Faults faults;
        for (size_t left = most; left != 0; left = writer.fillable().size()) {
            std::string record(std::min<size_t>(1000, left) - 1, 'x');
            record += '\n';
            const auto place = writer.fillable();
            base::copy(place.data(), base::bytes_of(record).data(), record.size());
            writer.filled(record.size());
            expected += record;
        }
        CHECK(writer.held() == most);
        CHECK(faults.count("write") == 0);
        put(writer, "head ", "one");
        CHECK(faults.count("write") == 1);
        CHECK(support::read_file(path) == expected);
        CHECK(writer.held() == 9);
    }

    // A file that does not take it does not keep the rest of the ring from being used.
    const Faults full(
        [](const Call& call) { return Instead{.error = call.name == "write" ? ENOSPC : 0}; });
    writer.flush();
    CHECK(writer.fillable().size() == storage.size() - 9);
    CHECK(full.count("write") == 1);
    while (!writer.loss().any()) {
        put(writer, "head ", "one");
    }
    CHECK(writer.held() > storage.size() - 9);
    CHECK(full.count("write") == 1); // not once for each record
}

TEST_CASE("a refusal is told until bytes go through again, a slow reader is none") {
    Small small;
    put(small.writer, "h ", "1");
    {
        const Faults faults("write", 1, ENOSPC);
        small.writer.flush();
    }
    REQUIRE(small.writer.refusal());
    CHECK(small.writer.refusal()->code == ENOSPC);
    CHECK(small.writer.holds_bytes());
    CHECK_FALSE(small.writer.waits_for_reader());
    {
        const Faults faults("write", 1, EAGAIN);
        small.writer.flush();
    }
    CHECK_FALSE(small.writer.refusal());
    CHECK(small.writer.waits_for_reader());
    small.writer.flush();
    CHECK_FALSE(small.writer.refusal());
    CHECK_FALSE(small.writer.waits_for_reader());
    CHECK(small.content() == "h 1\n");
}

TEST_CASE("a record that a full disk took in part is cut off at once, and written again") {
    Small small;
    put(small.writer, "head ", "first");
    put(small.writer, "head ", "second");
    {
        const Faults faults([](const Call& call) {
            return call.nth == 1 ? Instead{.at_most = 14} : Instead{.error = ENOSPC};
        });
        small.writer.flush();
    }
    CHECK(small.content() == "head first\n");
    small.writer.flush();
    CHECK(small.content() == "head first\nhead second\n");
    CHECK_FALSE(small.writer.loss().any());
    CHECK(small.writer.written() == 23);
}

TEST_CASE("a record that is cut off is still held") {
    Small small;
    put(small.writer, "head ", "first");
    put(small.writer, "head ", "second");
    put(small.writer, "head ", "third");
    const Faults faults([](const Call& call) {
        if (call.name != "write") {
            return Instead{};
        }
        return call.nth == 1 ? Instead{.at_most = 14} : Instead{.error = ENOSPC};
    });
    small.writer.flush();
    CHECK(small.content() == "head first\n");
    CHECK(small.writer.written() == 11);
    CHECK(small.writer.held() == 23); // the second and the third
    small.writer.cut_torn_record();   // nothing more to cut
    CHECK(small.content() == "head first\n");
    CHECK_FALSE(small.writer.loss().any());
}

TEST_CASE("a torn record is written again as a whole") {
    Small small;
    put(small.writer, "head ", "second");
    {
        const Faults faults([](const Call& call) {
            if (call.name != "write") {
                return Instead{};
            }
            return call.nth == 1 ? Instead{.at_most = 3} : Instead{.error = ENOSPC};
        });
        small.writer.flush();
    }
    CHECK(small.writer.held() == 12);
    std::string path = small.path;
    SECTION("when it was cut off") {}
    SECTION("when another file takes over") {
        path = small.directory / "next";
        small.writer.set_file(open_log(path));
    }
    small.writer.flush();
    CHECK(support::read_file(path) == "head second\n");
    CHECK(small.writer.written() == 12);
    CHECK_FALSE(small.writer.loss().any());
}

TEST_CASE("a torn record stays where the file cannot be cut, and is whole in the next") {
    Small small;
    put(small.writer, "head ", "first");
    put(small.writer, "head ", "second");
    const std::string_view refusing = GENERATE("fstat", "ftruncate");
    const Faults faults([=](const Call& call) {
        if (call.name == "write") {
            return call.nth == 1 ? Instead{.at_most = 3} : Instead{.error = EIO};
        }
        return Instead{.error = call.name == refusing ? EPERM : 0};
    });
    small.writer.flush();
    small.writer.cut_torn_record();
    CHECK(small.content() == "hea");
    small.writer.set_file(open_log(small.directory / "next"));
    CHECK_FALSE(small.writer.loss().any());
    CHECK(small.writer.held() == 23);
}

TEST_CASE("what is no regular file is never cut") {
    TempDir directory;
    const std::string path = directory / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    std::vector<std::byte> storage(64);
    Writer writer{storage};
    writer.set_file(open_log(path));
    put(writer, "head ", "first");
    const Faults faults([](const Call& call) {
        if (call.name != "write") {
            return Instead{};
        }
        return call.nth == 1 ? Instead{.at_most = 3} : Instead{.error = EAGAIN};
    });
    writer.flush();
    CHECK(writer.waits_for_reader());
    writer.cut_torn_record();
    CHECK(faults.count("ftruncate") == 0);
}

TEST_CASE("a file that was truncated by somebody else is not cut below nothing") {
    Small small;
    put(small.writer, "head ", "first");
    const Faults faults([](const Call& call) {
        if (call.name == "ftruncate") {
            return Instead{.error = call.nth == 1 ? EINTR : 0};
        }
        if (call.name != "write") {
            return Instead{};
        }
        return call.nth == 1 ? Instead{.at_most = 7} : Instead{.error = ENOSPC};
    });
    small.writer.flush();
    REQUIRE(::truncate(small.path.c_str(), 2) == 0);
    small.writer.cut_torn_record();
    CHECK(small.content() == "he");
}

TEST_CASE("a write that goes over the end of a page of a regular file is shielded") {
    std::vector<std::byte> storage(16'384);
    const TempDir directory;
    Writer writer{storage};
    const std::string path = directory / "log";
    const Faults faults([](const Call&) { return Instead{}; });
    const auto write = [&](size_t size) {
        put(writer, "", std::string(size - 1, 'x'));
        writer.flush();
        return faults.count("clone");
    };
    SECTION("once it is known that this can be done") {
        writer.set_file(open_log(path), 0);
        CHECK(write(4096) == 0);
        CHECK(write(4095) == 0);
        CHECK(write(1) == 0);
        CHECK(write(4096) == 0);
        CHECK(write(4097) == 2); // the first one is a trial
        CHECK(write(4095) == 2);
        CHECK(write(6000) == 3);
        CHECK(support::read_file(path).size() == 4096 + 4095 + 1 + 4096 + 4097 + 4095 + 6000);
    }
    SECTION("from where the file was") {
        writer.set_file(open_log(path), 4000);
        CHECK(write(96) == 0);
        CHECK(write(4097) == 2);
    }
    SECTION("but not in a file that is none") {
        writer.set_file(open_log(path));
        CHECK(write(10'000) == 0);
    }
}

TEST_CASE("a file is busy when turn after turn writes more than a page") {
    std::vector<std::byte> storage(16'384);
    const TempDir directory;
    Writer writer{storage};
    writer.set_file(open_log(directory / "log"), 0);
    const auto turn = [&](size_t size) {
        if (size != 0) {
            put(writer, "", std::string(size - 1, 'x'));
            writer.flush();
        }
        writer.end_turn();
        return writer.is_busy();
    };
    CHECK_FALSE(turn(5000));
    CHECK_FALSE(turn(4096));
    CHECK_FALSE(turn(5000));
    CHECK(turn(5000));
    CHECK(turn(0));
    CHECK_FALSE(turn(4096));
    SECTION("not one that is no regular file, whose reader is waited for") {
        turn(5000);
        writer.set_file(open_log(directory / "log"));
        CHECK_FALSE(turn(5000));
    }
    SECTION("not when it has come to a rest") {
        CHECK(turn(5000));
        writer.calm_down();
        CHECK_FALSE(turn(5000));
    }
    SECTION("for two more short turns after many long ones") {
        for (int n = 0; n < 10; ++n) {
            turn(5000);
        }
        CHECK(turn(1));
        CHECK(turn(1));
        CHECK_FALSE(turn(1));
    }
}

TEST_CASE("what the ring holds goes to the next file, from a record's start") {
    Small small;
    put(small.writer, "head ", "first");
    put(small.writer, "head ", "second");
    put(small.writer, "head ", "third");
    {
        const Faults faults([](const Call& call) {
            return call.nth == 1 ? Instead{.at_most = 14} : Instead{.error = EIO};
        });
        small.writer.flush();
    }
    REQUIRE(small.writer.refusal());
    const std::string next = small.directory / "next";
    small.writer.set_file(open_log(next));
    CHECK_FALSE(small.writer.refusal());
    small.writer.flush();
    CHECK(support::read_file(next) == "head second\nhead third\n");
    CHECK(small.writer.written() == 23);
}

TEST_CASE("without a file records are kept while they fit, and counted when they do not") {
    std::vector<std::byte> storage(64);
    Writer writer{storage};
    for (int i = 0; i < 5; ++i) {
        put(writer, "head ", "0123456789");
    }
    writer.flush();
    writer.cut_torn_record();
    CHECK(writer.held() == 64);
    CHECK(writer.loss().records == 1);
    TempDir directory;
    writer.set_file(open_log(directory / "log"));
    writer.flush();
    CHECK(lines_of(support::read_file(directory / "log")).size() == 4);
}

namespace {

// What the writer is to do, and a file that misbehaves.
class Model {
  public:
    explicit Model(uint32_t seed) : random_{seed} { open_next(); }

    void run() {
        const Faults faults([this](const Call& call) { return judge(call); });
        for (int step = 0; step < 400; ++step) {
            switch (pick(12)) {
            case 0:
            case 1:
            case 2:
                writer_.flush();
                break;
            case 3:
                if (pick(10) == 0) {
                    change_file();
                }
                break;
            case 4:
                mood_ = static_cast<Mood>(pick(4));
                break;
            default:
                put_one();
            }
        }
    }

    void check() {
        // The end, as K8sFile::finish does it: with the file in any mood, then a cut that works.
        {
            const Faults faults([this](const Call& call) { return judge(call); });
            writer_.flush();
        }
        writer_.cut_torn_record();
        const Loss loss = writer_.take_loss();

        size_t next = 0; // in records_
        size_t found = 0;
        size_t missing_bytes = 0;
        for (const std::string& path : paths_) {
            uint64_t size = 0;
            for (const std::string& line : lines_of(support::read_file(path))) {
                size += line.size() + 1;
                while (next < records_.size() && records_[next] != line) {
                    missing_bytes += records_[next++].size() - head_size;
                }
                INFO(path << ": " << line);
                REQUIRE(next < records_.size()); // whole, in order, and not doubled
                ++next;
                ++found;
            }
            if (path == paths_.back()) {
                CHECK(writer_.written() == size);
            }
        }
        // What is still in the ring comes last of all that was not dropped.
        size_t held_records = 0;
        std::vector<std::byte> rest(writer_.held());
        const std::string last = directory_ / "rest";
        const size_t held_bytes = writer_.held();
        writer_.set_file(open_log(last));
        writer_.flush();
        for (const std::string& line : lines_of(support::read_file(last))) {
            while (next < records_.size() && records_[next] != line) {
                missing_bytes += records_[next++].size() - head_size;
            }
            REQUIRE(next < records_.size());
            ++next;
            ++held_records;
        }
        for (; next < records_.size(); ++next) {
            missing_bytes += records_[next].size() - head_size;
        }
        CHECK(support::read_file(last).size() == held_bytes);
        CHECK_FALSE(writer_.loss().any());
        CHECK(loss.records == records_.size() - found - held_records);
        CHECK(loss.bytes == missing_bytes);
    }

  private:
    enum class Mood { well, short_writes, full, any };

    static constexpr size_t head_size = 12;

    uint32_t pick(uint32_t below) { return random_() % below; }

    void open_next() {
        paths_.push_back(directory_ / ("log" + std::to_string(paths_.size())));
        writer_.set_file(open_log(paths_.back()));
    }

    void change_file() {
        writer_.flush();
        const Mood mood = std::exchange(mood_, Mood::well); // the cut works
        writer_.cut_torn_record();
        open_next();
        mood_ = mood;
    }

    void put_one() {
        char head[head_size + 1];
        (void)::snprintf(head, sizeof head, "%010zu F", records_.size());
        std::string content(pick(40), 'x');
        for (char& c : content) {
            c = static_cast<char>('a' + pick(26));
        }
        records_.push_back(head + content);
        put(writer_, head, content);
    }

    Instead judge(const Call& call) {
        if (call.name != "write" && call.name != "writev") {
            return {};
        }
        constexpr std::array reasons{EAGAIN, EINTR, ENOSPC, EIO, EDQUOT, EFBIG};
        switch (mood_) {
        case Mood::well:
            return {};
        case Mood::short_writes:
            return {.at_most = 1 + pick(60)};
        case Mood::full:
            return pick(4) == 0 ? Instead{.at_most = 1 + pick(20)} : Instead{.error = ENOSPC};
        case Mood::any:
            return pick(2) == 0 ? Instead{.at_most = 1 + pick(80)}
                                : Instead{.error = reasons[pick(reasons.size())]};
        }
        return {};
    }

    std::mt19937 random_;
    TempDir directory_;
    std::vector<std::byte> storage_ = std::vector<std::byte>(128);
    Writer writer_{storage_};
    std::vector<std::string> paths_;
    std::vector<std::string> records_; // all that were put, without newlines
    Mood mood_ = Mood::well;
};

} // namespace

TEST_CASE("only whole records reach the files, in order, each once, and losses are counted") {
    for (uint32_t seed = 0; seed < 150; ++seed) {
        INFO("seed " << seed);
        Model model(seed);
        model.run();
        model.check();
    }
}
