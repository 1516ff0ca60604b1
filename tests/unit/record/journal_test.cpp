// The journal driver against a stand-in for the journal's socket, in a /run of the test's own: what
// a datagram looks like, where lines are cut, and what happens while the journal is full, gone or
// new.

#include "record/journal.h"
#include "record/recorder.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "support/k8s_model.h"
#include "support/mounts.h"
#include "sys/socket.h"
#include "unit/sys/ours.h"

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

using record::Journal;
using record::Patience;
using record::Pause;
using record::Recorder;
using record::Stream;
using shadow::Faults;
using support::TempDir;
using sys::Fd;

namespace {

constexpr std::string_view id = "0123456789abcdef0123456789abcdef";

struct Entry {
    std::vector<std::pair<std::string, std::string>> fields;
    bool was_file = false;

    std::string operator[](std::string_view name) const {
        for (const auto& [each, value] : fields) {
            if (each == name) {
                return value;
            }
        }
        return "<none>";
    }
    bool has(std::string_view name) const { return (*this)[name] != "<none>"; }
    std::string names() const {
        std::string all;
        for (const auto& [name, value] : fields) {
            all += name + " ";
        }
        return all;
    }
};

// Of every one of many bytes or fields: cheaper than REQUIRE.
void must(bool holds) {
    if (!holds) {
        FAIL("not as the native protocol has it");
    }
}

// The native protocol, strictly: nothing may be left over.
Entry parse(const std::string& bytes) {
    Entry entry;
    for (size_t at = 0; at < bytes.size();) {
        const size_t end = bytes.find('\n', at);
        must(end != std::string::npos);
        const std::string line = bytes.substr(at, end - at);
        const size_t equals = line.find('=');
        if (equals != std::string::npos) {
            entry.fields.emplace_back(line.substr(0, equals), line.substr(equals + 1));
            at = end + 1;
            continue;
        }
        uint64_t size = 0;
        must(bytes.size() >= end + 1 + sizeof size);
        std::memcpy(&size, bytes.data() + end + 1, sizeof size);
        must(bytes.size() > end + 1 + sizeof size + size);
        entry.fields.emplace_back(line, bytes.substr(end + 1 + sizeof size, size));
        at = end + 1 + sizeof size + size;
        must(bytes[at] == '\n');
        ++at;
    }
    return entry;
}

// In the place of systemd-journald, until it goes away with its socket's file.
class StandIn {
  public:
    explicit StandIn(const std::string& name = "journal") : directory_("/run/systemd/" + name) {
        static const support::Mount run = support::Mount::tmpfs("/run", "8m");
        support::fs::create_directories(directory_);
        Fd socket = *sys::make_socket(sys::SocketKind::datagram);
        REQUIRE(sys::bind_path(socket, directory_ + "/socket"));
        socket_ = std::move(socket);
    }
    ~StandIn() { ::unlink((directory_ + "/socket").c_str()); }

    // Stops listening, but leaves the file behind.
    void die() { socket_.reset(); }

    // All that has come.
    std::vector<Entry> entries() {
        std::vector<Entry> all;
        for (;;) {
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
            iovec part{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            const ssize_t size =
                ::recvmsg(socket_.number(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
            if (size < 0) {
                return all;
            }
            std::string bytes{buffer_.data(), static_cast<size_t>(size)};
            const cmsghdr* const header = CMSG_FIRSTHDR(&message);
            if (header != nullptr) {
                REQUIRE(bytes.empty());
                int number = -1;
                std::memcpy(&number, CMSG_DATA(header), sizeof number);
                bytes = contents_of(Fd{number});
            }
            all.push_back(parse(bytes));
            all.back().was_file = header != nullptr;
        }
    }

    void drop_one() {
        char byte;
        (void)!::recv(socket_.number(), &byte, sizeof byte, MSG_DONTWAIT);
    }

    std::string messages() {
        std::string all;
        for (const Entry& entry : entries()) {
            all += entry["MESSAGE"];
        }
        return all;
    }

  private:
    static std::string contents_of(const Fd& file) {
        CHECK(::fcntl(file.number(), F_GET_SEALS) ==
              (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
        struct stat status{};
        REQUIRE(::fstat(file.number(), &status) == 0);
        std::string bytes(static_cast<size_t>(status.st_size), ' ');
        REQUIRE(::pread(file.number(), bytes.data(), bytes.size(), 0) == status.st_size);
        return bytes;
    }

    std::string directory_;
    std::vector<char> buffer_ = std::vector<char>(1'000'000);
    Fd socket_;
};

// What is said on standard error meanwhile.
std::string said(const std::function<void()>& act) {
    const Fd told{::memfd_create("told", MFD_CLOEXEC)};
    const int saved = ::fcntl(2, F_DUPFD_CLOEXEC, 10);
    ::dup2(told.number(), 2);
    act();
    ::dup2(saved, 2);
    ::close(saved);
    std::string text(8192, ' ');
    text.resize(static_cast<size_t>(::pread(told.number(), text.data(), text.size(), 0)));
    return text;
}

struct Driver {
    explicit Driver(Journal::Settings settings = {}, size_t record_max = 16'384)
        : storage{std::make_unique_for_overwrite<Journal::Storage>()} {
        settings.is_on = true;
        settings.id = id;
        journal.emplace(settings, record_max, *storage, counters, diag);
        REQUIRE(journal->open());
    }
    void bring(std::string_view text,
               Stream stream = Stream::standard_output,
               Patience patience = Patience::later,
               sys::Instant now = 0) {
        journal->keep(stream, base::bytes_of(text), patience, now);
    }
    // Until the journal is full. Returns how many lines it has got, which is one less than were
    // brought: the last one is kept.
    int fill() {
        int count = 0;
        for (; !journal->is_waiting(); ++count) {
            REQUIRE(count < 10'000);
            bring("line " + std::to_string(count) + "\n");
        }
        return count - 1;
    }

    sys::Diag diag;
    std::unique_ptr<Journal::Storage> storage;
    record::Counters counters{};
    std::optional<Journal> journal;
};

} // namespace

TEST_CASE("an entry has conmon's fields in conmon's order (regression 57)") {
    StandIn stand_in;
    const std::array<const char*, 2> labels{"ONE=1", "TWO="};
    Driver driver{{.name = "a-name", .tag = "a-tag", .labels = labels}, 4};
    driver.bring("line\n");
    driver.bring("longer\n", Stream::standard_error);
    const auto entries = stand_in.entries();
    REQUIRE(entries.size() == 3);
    const std::string front = "MESSAGE CONTAINER_ID_FULL PRIORITY CONTAINER_ID CONTAINER_TAG "
                              "CONTAINER_NAME SYSLOG_IDENTIFIER ";
    CHECK(entries[0].names() == front + "ONE TWO ");
    CHECK(entries[1].names() == front + "CONTAINER_PARTIAL_MESSAGE ONE TWO ");
    CHECK(entries[2].names() == front + "ONE TWO ");
    CHECK(entries[0]["MESSAGE"] == "line\n");
    CHECK(entries[1]["MESSAGE"] == "long");
    CHECK(entries[2]["MESSAGE"] == "er\n");
    CHECK(entries[0]["PRIORITY"] == "6");
    CHECK(entries[1]["PRIORITY"] == "3");
    CHECK(entries[1]["CONTAINER_PARTIAL_MESSAGE"] == "true");
    CHECK(entries[0]["CONTAINER_ID_FULL"] == id);
    CHECK(entries[0]["CONTAINER_ID"] == id.substr(0, 12));
    CHECK(entries[0]["CONTAINER_TAG"] == "a-tag");
    CHECK(entries[0]["CONTAINER_NAME"] == "a-name");
    CHECK(entries[0]["ONE"] == "1");
    CHECK(entries[0]["TWO"].empty());
}

TEST_CASE("the identifier is the tag, else the name, else the short id (regression 57)") {
    StandIn stand_in;
    const auto entry_of = [&](const Journal::Settings& settings) {
        Driver driver{settings};
        driver.bring("x\n");
        const auto entries = stand_in.entries();
        REQUIRE(entries.size() == 1);
        return entries[0];
    };
    CHECK(entry_of({.name = "n", .tag = "t"})["SYSLOG_IDENTIFIER"] == "t");
    CHECK(entry_of({.name = "n"})["SYSLOG_IDENTIFIER"] == "n");
    CHECK(entry_of({.name = "n"})["CONTAINER_TAG"] == "<none>");
    CHECK(entry_of({})["SYSLOG_IDENTIFIER"] == id.substr(0, 12));
    CHECK(entry_of({})["CONTAINER_NAME"] == "<none>");
    // An empty one is given, as with conmon.
    CHECK(entry_of({.name = "n", .tag = ""})["SYSLOG_IDENTIFIER"].empty());
    CHECK(entry_of({.tag = ""})["CONTAINER_TAG"].empty());
}

TEST_CASE("a newline in a tag or label makes no field of its own") {
    StandIn stand_in;
    const std::array<const char*, 1> labels{"ONE=1\nPRIORITY=0"};
    Driver driver{{.name = "a\nMESSAGE=b", .labels = labels}};
    driver.bring("x\n");
    const auto entries = stand_in.entries();
    REQUIRE(entries.size() == 1);
    CHECK(entries[0]["CONTAINER_NAME"] == "a\nMESSAGE=b");
    CHECK(entries[0]["SYSLOG_IDENTIFIER"] == "a\nMESSAGE=b");
    CHECK(entries[0]["ONE"] == "1\nPRIORITY=0");
    CHECK(entries[0].fields.size() == 7);
}

TEST_CASE("parts are not marked when that is not wanted") {
    StandIn stand_in;
    Driver driver{{.marks_parts = false}, 4};
    driver.bring("longer\n");
    for (const Entry& entry : stand_in.entries()) {
        CHECK_FALSE(entry.has("CONTAINER_PARTIAL_MESSAGE"));
    }
}

TEST_CASE("a line is one entry in whatever pieces it comes (regression 53)") {
    StandIn stand_in;
    Driver driver;
    driver.bring("wa");
    CHECK(stand_in.entries().empty());
    driver.bring("or", Stream::standard_error);
    driver.bring("rn\n");
    driver.bring("err\n", Stream::standard_error);
    CHECK(stand_in.messages() == "warn\norerr\n");
    driver.bring("unfinished");
    driver.journal->finish(0);
    const auto entries = stand_in.entries();
    REQUIRE(entries.size() == 1);
    CHECK(entries[0]["MESSAGE"] == "unfinished");
    CHECK(entries[0].has("CONTAINER_PARTIAL_MESSAGE"));
}

TEST_CASE("a priority in front of a line becomes the entry's, in pieces too (regression 55)") {
    const struct {
        const char* line;
        const char* message;
        char priority;
    } cases[] = {
        {"<4>warn\n", "warn\n", '4'},
        {"<0>\n", "\n", '0'},
        {"<7><6>x\n", "<6>x\n", '7'},
        {"<8>x\n", "<8>x\n", '6'},
        {"<>x\n", "<>x\n", '6'},
        {"<4x\n", "<4x\n", '6'},
        {"<4\n", "<4\n", '6'},
        {" <4>x\n", " <4>x\n", '6'},
        {"<\n", "<\n", '6'},
        {"<10>x\n", "<10>x\n", '6'},
    };
    StandIn stand_in;
    for (const auto& each : cases) {
        const std::string_view line = each.line;
        for (size_t cut = 0; cut <= line.size(); ++cut) {
            Driver driver;
            driver.bring(line.substr(0, cut));
            driver.bring(line.substr(cut));
            driver.bring("next\n");
            const auto entries = stand_in.entries();
            REQUIRE(entries.size() == 2);
            CHECK(entries[0]["MESSAGE"] == each.message);
            CHECK(entries[0]["PRIORITY"] == std::string(1, each.priority));
            CHECK(entries[1]["PRIORITY"] == "6");
        }
    }
}

TEST_CASE("all parts of a line have its priority, and only its beginning has a prefix") {
    StandIn stand_in;
    Driver driver{{}, 8};
    driver.bring("<2>12345<1>45678end\n<3>x\n", Stream::standard_error);
    std::string got;
    for (const Entry& entry : stand_in.entries()) {
        got += entry["PRIORITY"] + " " + entry["MESSAGE"] + "|";
    }
    CHECK(got == "2 12345|2 <1>45678|2 end\n|3 x\n|");
}

TEST_CASE("random streams are cut as if they had come in one piece (regression 54)") {
    StandIn stand_in;
    std::mt19937_64 random{56};
    for (int turn = 0; turn < 60; ++turn) {
        const size_t record_max = 1 + random() % 300;
        support::K8sModel model{"?", record_max};
        Driver driver{{}, record_max};
        std::string log;
        const auto receive = [&] {
            for (const Entry& entry : stand_in.entries()) {
                std::string message = entry["MESSAGE"];
                const bool is_part = entry.has("CONTAINER_PARTIAL_MESSAGE");
                must(message.ends_with('\n') == !is_part);
                log += (is_part ? "P" : "F") + message + (is_part ? "\n" : "");
            }
        };
        const size_t rarity = 1 + random() % (2 * record_max);
        for (int pieces = 0; pieces < 20; ++pieces) {
            std::string piece(random() % 1500, ' ');
            for (char& one : piece) {
                // No '<', which might begin a priority.
                one = random() % rarity == 0 ? '\n' : static_cast<char>(random() % 60);
            }
            model.bring(piece, record::Tail::hold_back);
            // The stand-in's queue is short.
            for (size_t at = 0; at < piece.size(); at += 100) {
                driver.bring(std::string_view{piece}.substr(at, 100));
                receive();
                while (driver.journal->is_waiting()) {
                    driver.journal->expire(0);
                    receive();
                }
            }
        }
        model.bring("", record::Tail::record);
        driver.journal->finish(0);
        receive();
        CAPTURE(turn, record_max);
        REQUIRE((log == model.log()));
    }
}

TEST_CASE("a full journal makes us wait, and nothing is lost when it goes on (regression 56)") {
    StandIn stand_in;
    std::string all;
    const std::string words = said([&] {
        Driver driver;
        const int count = driver.fill();
        CHECK(driver.journal->socket().valid());
        CHECK(driver.journal->deadline() == record::stall_max_ms);
        driver.journal->expire(1);
        CHECK(driver.journal->is_waiting());
        CHECK(driver.journal->deadline() == record::stall_max_ms); // from the beginning
        all = stand_in.messages();
        driver.journal->expire(2);
        CHECK_FALSE(driver.journal->is_waiting());
        CHECK(driver.journal->deadline() == sys::never);
        driver.bring("after\n");
        all += stand_in.messages();
        std::string wanted;
        for (int n = 0; n <= count; ++n) {
            wanted += "line " + std::to_string(n) + "\n";
        }
        CHECK(all == wanted + "after\n");
    });
    CHECK(words.empty());
}

TEST_CASE("a journal that stays full costs records, which is said once and counted once") {
    StandIn stand_in;
    std::string words;
    Driver driver;
    const int count = driver.fill();
    words = said([&] { driver.journal->expire(record::stall_max_ms); });
    CHECK(words == "[conmon:w]: Failed to write to the journal, dropping records: send datagram: "
                   "Resource temporarily unavailable\n");
    CHECK_FALSE(driver.journal->is_waiting());
    words = said([&] {
        for (int n = 0; n < 100; ++n) {
            driver.bring("lost\n");
            REQUIRE_FALSE(driver.journal->is_waiting());
        }
    });
    CHECK(words.empty());
    CHECK(stand_in.entries().size() == static_cast<size_t>(count));
    words = said([&] {
        driver.bring("here\n");
        driver.bring("again\n");
    });
    // The line that filled it, without its newline, and a hundred of four bytes.
    const size_t bytes = ("line " + std::to_string(count)).size() + 400;
    CHECK(words == "[conmon:w]: The journal is written again, records lost: 101, bytes lost: " +
                       std::to_string(bytes) + "\n");
    CHECK(stand_in.messages() == "here\nagain\n");
    // And the next time it is full we wait again.
    (void)driver.fill();
    CHECK(driver.journal->is_waiting());
}

TEST_CASE("at the end a full journal is waited for, but not for long (regression 56)") {
    StandIn stand_in;
    Driver driver;
    (void)driver.fill();
    const sys::Instant start = sys::monotonic_ms();
    const std::string words = said([&] {
        driver.bring("a\nb\nc\n", Stream::standard_output, Patience::now);
        driver.bring("d\n", Stream::standard_error, Patience::now);
        driver.journal->finish(0);
    });
    const sys::Instant took = sys::monotonic_ms() - start;
    CHECK(took >= record::LastWait::stall_max_ms);
    CHECK(took < record::LastWait::stall_max_ms + 1000);
    CHECK(words.find("dropping records") != std::string::npos);
    CHECK(words.find("The journal is incomplete, records lost: 5,") != std::string::npos);
    CHECK_FALSE(driver.journal->socket().valid());
}

TEST_CASE("at the end a slow journal, which may take nothing for a second, gets everything") {
    StandIn stand_in;
    Driver driver;
    const int before = driver.fill();
    // Somebody else reads, while we wait, and not at once.
    int told[2];
    REQUIRE(::pipe(told) == 0);
    const pid_t reader = ::fork();
    if (reader == 0) {
        ::usleep(1'000'000);
        int count = 0;
        while (count < before + 2001) {
            for (const Entry& entry : stand_in.entries()) {
                (void)entry;
                ++count;
            }
        }
        (void)!::write(told[1], &count, sizeof count);
        ::_exit(0);
    }
    std::string more;
    for (int n = 0; n < 2000; ++n) {
        more += "more\n";
    }
    const std::string words = said([&] {
        driver.bring(more, Stream::standard_output, Patience::now);
        driver.journal->finish(0);
    });
    CHECK(words.empty());
    int count = 0;
    CHECK(::read(told[0], &count, sizeof count) == sizeof count);
    CHECK(count == before + 2001);
    REQUIRE(::waitpid(reader, nullptr, 0) == reader);
    ::close(told[0]);
    ::close(told[1]);
}

TEST_CASE("at the end a journal that takes an entry now and then is waited for for so long") {
    StandIn stand_in;
    Driver driver;
    (void)driver.fill();
    const pid_t reader = ::fork();
    if (reader == 0) {
        for (;;) {
            ::usleep(record::LastWait::stall_max_ms * 1000 * 2 / 3); // not at the end itself
            stand_in.drop_one();
        }
    }
    std::string more;
    for (int n = 0; n < 2000; ++n) {
        more += "more\n";
    }
    const sys::Instant start = sys::monotonic_ms();
    const std::string words = said([&] {
        driver.bring(more, Stream::standard_output, Patience::now);
        driver.journal->finish(0);
    });
    const sys::Instant took = sys::monotonic_ms() - start;
    CHECK(took >= record::LastWait::max_ms);
    CHECK(took < record::LastWait::max_ms + 1000);
    INFO(words);
    CHECK(words.find("The journal is incomplete, records lost: 19") != std::string::npos);
    REQUIRE(::kill(reader, SIGKILL) == 0);
    REQUIRE(::waitpid(reader, nullptr, 0) == reader);
}

TEST_CASE("a journal that was replaced is connected to again (regression 56)") {
    auto stand_in = std::make_unique<StandIn>();
    Driver driver;
    driver.bring("one\n");
    CHECK(stand_in->messages() == "one\n");
    stand_in.reset();
    stand_in = std::make_unique<StandIn>();
    const std::string words = said([&] { driver.bring("two\n"); });
    CHECK(words.empty());
    CHECK(stand_in->messages() == "two\n");
    // Also when it was full as it went.
    (void)driver.fill();
    stand_in.reset();
    stand_in = std::make_unique<StandIn>();
    driver.journal->expire(1);
    CHECK_FALSE(driver.journal->is_waiting());
    CHECK(stand_in->entries().size() == 1);
}

TEST_CASE("without a journal nothing is said, with a dead one the loss is") {
    auto stand_in = std::make_unique<StandIn>();
    stand_in.reset();
    Driver driver;
    std::string words = said([&] {
        driver.bring("nobody\n");
        driver.bring("hears\n");
    });
    CHECK(words.empty());
    stand_in = std::make_unique<StandIn>();
    stand_in->die();
    words = said([&] {
        driver.bring("dead\n");
        driver.bring("letters\n");
    });
    CHECK(words == "[conmon:w]: Failed to write to the journal, dropping records: connect socket: "
                   "Connection refused\n");
    stand_in.reset();
    stand_in = std::make_unique<StandIn>();
    words = said([&] { driver.bring("alive\n"); });
    CHECK(words == "[conmon:w]: The journal is written again, records lost: 2, bytes lost: 11\n");
    CHECK(stand_in->messages() == "alive\n");
}

TEST_CASE("a journal that is full after another error is waited for all the same") {
    StandIn stand_in;
    Driver driver;
    {
        // It is sent again once.
        const Faults faults([](const shadow::Call& call) {
            return shadow::Instead{.error = call.name == "sendmsg" ? ENOMEM : 0};
        });
        CHECK(said([&] { driver.bring("lost\n"); }).find("dropping records") != std::string::npos);
    }
    {
        const Faults faults("sendmsg", 1, EAGAIN);
        driver.bring("kept\n");
        CHECK(driver.journal->is_waiting());
    }
    CHECK(said([&] { driver.journal->expire(1); }) ==
          "[conmon:w]: The journal is written again, records lost: 1, bytes lost: 4\n");
    CHECK(stand_in.messages() == "kept\n");
}

TEST_CASE("what is too large for a datagram goes as a sealed file") {
    StandIn stand_in;
    for (const int error : {EMSGSIZE, ENOBUFS}) {
        Driver driver{{.tag = "t"}};
        const auto before = unit::open_descriptors();
        {
            const Faults faults("sendmsg", 1, error);
            driver.bring("large\n");
        }
        driver.bring("small\n");
        const auto entries = stand_in.entries();
        REQUIRE(entries.size() == 2);
        CHECK(entries[0].was_file);
        CHECK(entries[0]["MESSAGE"] == "large\n");
        CHECK(entries[0].names() == entries[1].names());
        CHECK_FALSE(entries[1].was_file);
        CHECK(unit::open_descriptors().size() == before.size() + 1); // the socket
    }
}

TEST_CASE("a line that is really too large goes as a file") {
    StandIn stand_in;
    const std::string value = "ONE=" + std::string(120'000, 'x');
    const std::string other = "TWO=" + std::string(120'000, 'y');
    const std::array<const char*, 2> labels{value.c_str(), other.c_str()};
    Driver driver{{.labels = labels}, 65'536};
    driver.bring(std::string(65'536, 'm'));
    driver.bring("\n");
    const auto entries = stand_in.entries();
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].was_file);
    CHECK(entries[0]["MESSAGE"].size() == 65'537);
    CHECK(entries[0]["TWO"].size() == 120'000);
}

TEST_CASE("a file that cannot be made or sent costs one record") {
    StandIn stand_in;
    for (const std::string_view call : {"writev", "fcntl", "sendmsg"}) {
        Driver driver;
        const auto before = unit::open_descriptors();
        const std::string words = said([&] {
            const Faults faults([&](const shadow::Call& made) {
                const bool fails = made == shadow::Call{"sendmsg", 1} ||
                                   (made.name == call && made.nth == (call == "sendmsg" ? 2 : 1));
                return shadow::Instead{.error = fails ? EMSGSIZE : 0};
            });
            driver.bring("large\n");
        });
        CHECK(words.find("dropping records") != std::string::npos);
        CHECK(said([&] { driver.bring("small\n"); }).find("records lost: 1,") != std::string::npos);
        CHECK(stand_in.messages() == "small\n");
        CHECK(unit::open_descriptors().size() == before.size() + 1);
    }
}

TEST_CASE("fields that do not fit are refused at the start") {
    const std::string value = "ONE=" + std::string(Journal::fields_max, 'x');
    const std::array<const char*, 1> labels{value.c_str()};
    const auto storage = std::make_unique_for_overwrite<Journal::Storage>();
    record::Counters counters{};
    sys::Diag diag;
    Journal journal{{.is_on = true, .id = id, .labels = labels}, 16'384, *storage, counters, diag};
    const auto opened = journal.open();
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == E2BIG);
}

TEST_CASE("entries go to the journal namespace that is named") {
    StandIn main_journal;
    StandIn other{"journal.other"};
    Driver driver{{.name_space = "other"}};
    driver.bring("elsewhere\n");
    CHECK(other.messages() == "elsewhere\n");
    CHECK(main_journal.entries().empty());
}

// ------------------------------------------------------------------------- both drivers at once

namespace {

struct Both {
    explicit Both(const char* path,
                  bool with_journal = true,
                  size_t record_max = 16'384,
                  record::RateLimit rate = {})
        : ring(131'072), storage{std::make_unique_for_overwrite<Journal::Storage>()},
          recorder{{.k8s_file = {.name = {.path = path}},
                    .journal = {.is_on = with_journal, .id = id, .counts_records = path == nullptr},
                    .rate = rate,
                    .record_max = record_max},
                   ring,
                   *storage,
                   zone,
                   counters,
                   diag} {
        REQUIRE(recorder.open());
    }
    size_t keep(std::string_view text, Pause pause) {
        const size_t consumed =
            recorder.keep(Stream::standard_output, base::bytes_of(text), pause, 0);
        recorder.flush(0);
        return consumed;
    }

    sys::Diag diag;
    sys::Zone zone = sys::Zone::create("UTC");
    std::vector<std::byte> ring;
    std::unique_ptr<Journal::Storage> storage;
    record::Counters counters{};
    Recorder recorder;
};

// The records of a file without their stamps.
std::string records_in(const std::string& path) {
    std::string records;
    const std::string text = support::read_file(path);
    for (size_t at = 0; at < text.size();) {
        const size_t end = text.find('\n', at);
        REQUIRE(end != std::string::npos);
        records += text.substr(at + 43, end + 1 - at - 43);
        at = end + 1;
    }
    return records;
}

} // namespace

TEST_CASE("a pause makes a part in the file and none in the journal (regression 53)") {
    StandIn stand_in;
    const TempDir directory;
    const std::string path = directory / "log";
    Both both{path.c_str()};
    CHECK(both.keep("one\nwa", Pause::more_to_come) == 4);
    CHECK(both.keep("wa", Pause::paused) == 2);
    CHECK(both.keep("rn\n<4>x\n", Pause::more_to_come) == 8);
    CHECK(records_in(path) == "F one\nP wa\nF rn\nF <4>x\n");
    CHECK(stand_in.messages() == "one\nwarn\nx\n");
    both.recorder.finish(0);
}

TEST_CASE("with the journal alone all is taken at once") {
    StandIn stand_in;
    Both both{nullptr};
    CHECK(both.keep("one\nwa", Pause::more_to_come) == 6);
    CHECK(both.keep("rn\n", Pause::paused) == 3);
    CHECK(stand_in.messages() == "one\nwarn\n");
    CHECK_FALSE(both.recorder.file().valid());
}

TEST_CASE("a full journal holds the file's stream too, and both get all of it") {
    StandIn stand_in;
    const TempDir directory;
    const std::string path = directory / "log";
    Both both{path.c_str()};
    std::string text;
    for (int n = 0; n < 5000; ++n) {
        text += "line " + std::to_string(n) + "\n";
    }
    std::string messages;
    size_t done = 0;
    int waits = 0;
    while (done != text.size() || both.recorder.waits_for_reader()) {
        done += both.keep(std::string_view{text}.substr(done), Pause::more_to_come);
        if (both.recorder.waits_for_reader()) {
            ++waits;
            REQUIRE(both.recorder.awaited().valid());
            REQUIRE(both.keep("x", Pause::more_to_come) == 0);
        }
        messages += stand_in.messages();
        both.recorder.expire(1);
    }
    messages += stand_in.messages();
    CHECK(waits > 10);
    CHECK((messages == text));
    std::string records = records_in(path);
    std::string contents;
    for (size_t at = 0; at < records.size(); at = records.find('\n', at) + 1) {
        contents += records.substr(at + 2, records.find('\n', at) - at - 1);
    }
    CHECK((contents == text));
}

TEST_CASE("the final chunk is taken whole even if the journal is full") {
    StandIn stand_in;
    const TempDir directory;
    const std::string path = directory / "log";
    Both both{path.c_str()};
    std::string text;
    for (int n = 0; n < 5000; ++n) {
        text += "line " + std::to_string(n) + "\n";
    }
    const std::string words = said([&] {
        CHECK(both.keep(text, Pause::final) == text.size());
        both.recorder.finish(0);
    });
    CHECK(words.find("The journal is incomplete") != std::string::npos);
    const std::string records = records_in(path);
    CHECK(std::count(records.begin(), records.end(), '\n') == 5000);
}

TEST_CASE("no page of the journal's storage is used without the journal") {
    const TempDir directory;
    const std::string path = directory / "log";
    void* const pages =
        ::mmap(nullptr, sizeof(Journal::Storage), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    {
        sys::Diag diag;
        sys::Zone zone = sys::Zone::create("UTC");
        std::vector<std::byte> ring(131'072);
        record::Counters counters{};
        Recorder recorder{
            {.k8s_file = {.name = {.path = path.c_str()}}, .journal = {.is_on = false, .id = id}},
            ring,
            *static_cast<Journal::Storage*>(pages),
            zone,
            counters,
            diag};
        REQUIRE(recorder.open());
        CHECK(recorder.keep(Stream::standard_output, base::bytes_of("a\nb"), Pause::paused, 0) ==
              3);
        recorder.flush(0);
        recorder.expire(0);
        recorder.finish(0);
        CHECK(records_in(path) == "F a\nP b\n");
    }
    ::munmap(pages, sizeof(Journal::Storage));
}

TEST_CASE("with neither driver everything is taken and nothing kept") {
    Both both{nullptr, false};
    CHECK(both.keep("a\nb", Pause::more_to_come) == 3);
    CHECK(both.recorder.deadline() == sys::never);
    both.recorder.finish(0);
}

TEST_CASE("a limit drops the same lines from the journal as from a file, and says so in both") {
    StandIn stand_in;
    const TempDir directory;
    const std::string path = directory / "log";
    for (const bool with_file : {true, false}) {
        CAPTURE(with_file);
        Both both{with_file ? path.c_str() : nullptr,
                  true,
                  16'384,
                  {.bytes_per_second = 10, .burst = 10, .excess = record::Excess::drop}};
        const std::string_view text = "first one\nsecond\nthird\nfour";
        const size_t consumed = both.recorder.keep(
            Stream::standard_error, base::bytes_of(text), Pause::more_to_come, 1);
        CHECK(consumed == text.size() - 4); // a line that has not come to its end may be dropped
        CHECK(both.recorder.deadline() == 1001);
        both.recorder.expire(1001);
        const std::string rest = "four more\n";
        CHECK(both.recorder.keep(
                  Stream::standard_error, base::bytes_of(rest), Pause::more_to_come, 1001) ==
              rest.size());
        both.recorder.finish(1001);
        const std::string said = "mote: dropped by MOTE_LOG_RATE, records lost: 2, bytes lost: 11";
        const auto entries = stand_in.entries();
        REQUIRE(entries.size() == 3);
        CHECK(entries[0]["MESSAGE"] == "first one\n");
        CHECK(entries[1]["MESSAGE"] == said + "\n");
        CHECK(entries[1]["PRIORITY"] == "3");
        CHECK(entries[2]["MESSAGE"] == "four more\n");
        if (with_file) {
            CHECK(records_in(path) == "F first one\nF " + said + "\nF four more\n");
        }
        CHECK(both.counters.streams[1].records == 5);
        CHECK(both.counters.lost_to_rate.records == 2);
    }
}

TEST_CASE("a journal that is full makes a limited stream wait, and what is said waits too") {
    StandIn stand_in;
    Both both{nullptr,
              true,
              16'384,
              {.bytes_per_second = 1000, .burst = 100'000, .excess = record::Excess::drop}};
    std::string text;
    for (int n = 0; n < 20'000; ++n) {
        text += "line " + std::to_string(n) + "\n";
    }
    std::string messages;
    size_t done = 0;
    sys::Instant now = 1;
    int waits = 0;
    while (done != text.size() || both.recorder.waits_for_reader()) {
        done += both.recorder.keep(Stream::standard_output,
                                   base::bytes_of(std::string_view{text}.substr(done)),
                                   Pause::more_to_come,
                                   now);
        waits += both.recorder.waits_for_reader() ? 1 : 0;
        messages += stand_in.messages();
        now += 1;
        both.recorder.expire(now);
    }
    both.recorder.finish(now);
    messages += stand_in.messages();
    CHECK(waits > 10);
    const uint64_t lost = both.counters.lost_to_rate.records;
    CHECK(lost > 0);
    const auto said = static_cast<uint64_t>(
        messages.find("mote: dropped by MOTE_LOG_RATE, records lost: ") != std::string::npos);
    CHECK(said == 1);
    CHECK(static_cast<uint64_t>(std::count(messages.begin(), messages.end(), '\n')) ==
          20'000 - lost + said);
    CHECK(both.counters.streams[0].records == 20'000 + said);
}
