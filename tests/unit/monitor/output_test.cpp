// Output: what is read reaches the log and the clients whole and in order, however slow both are,
// and a stream that has ended or hangs costs no turns.

#include "monitor/output.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "sys/socket.h"
#include "sys/zone.h"
#include "unit/monitor/heard.h"

#include <memory>
#include <optional>
#include <string>

#include <sys/socket.h>
#include <sys/stat.h>

using monitor::Buffers;
using monitor::Clients;
using monitor::EndOfInput;
using monitor::Input;
using monitor::Output;
using record::Recorder;
using record::Stream;
using shadow::Faults;
using sys::Event;
using sys::Fd;
using sys::Instant;
using sys::Source;

namespace {

Recorder::Settings settings_of(const char* path, record::RateLimit rate) {
    Recorder::Settings settings;
    settings.rate = rate;
    settings.k8s_file.name.path = path;
    return settings;
}

struct Fixture {
    support::TempDir directory;
    std::string log;
    unit::Loop loop;
    sys::Diag diag;
    sys::Zone zone = sys::Zone::create("");
    std::unique_ptr<Buffers> buffers = std::make_unique<Buffers>();
    std::unique_ptr<record::Journal::Storage> journal =
        std::make_unique<record::Journal::Storage>();
    monitor::Counters counters{};
    Recorder recorder;
    Input input{loop.poller, diag, buffers->input, EndOfInput::ignored};
    Clients clients{loop.poller, diag, counters, input, 0};
    Output output{loop.poller, diag, recorder, clients, *buffers, counters};
    Fd out;
    Fd err;
    Instant now = 1000;

    explicit Fixture(std::string log_path = {}, record::RateLimit rate = {})
        : log{log_path.empty() ? directory / "log" : log_path},
          recorder{settings_of(log.c_str(), rate),
                   buffers->ring,
                   *journal,
                   zone,
                   counters.records,
                   diag} {
        REQUIRE(recorder.open());
        const Fd at{::open(directory.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        REQUIRE(clients.listen(at));
        for (const Stream stream : {Stream::standard_output, Stream::standard_error}) {
            sys::Pipe pipe = *sys::make_pipe(O_NONBLOCK);
            REQUIRE(output.use(stream, std::move(pipe.read_end)));
            (stream == Stream::standard_output ? out : err) = std::move(pipe.write_end);
        }
    }

    size_t serve(size_t most = 2000) {
        return loop.run(
            [&](const Event& event) {
                switch (event.source) {
                case Source::standard_output:
                    output.on_ready(Stream::standard_output, now);
                    break;
                case Source::standard_error:
                    output.on_ready(Stream::standard_error, now);
                    break;
                case Source::attach_listener:
                    clients.accept_waiting(now);
                    break;
                case Source::attach_client:
                    clients.on_client_ready(event.slot, event.mask, now);
                    break;
                default:
                    FAIL("an event of a strange source");
                }
                output.settle(now);
                recorder.flush(now);
            },
            most);
    }

    // The deadlines that have come by `then`.
    void wait_until(Instant then) {
        now = then;
        output.expire(now);
        recorder.expire(now);
        output.settle(now);
        recorder.flush(now);
    }

    void end() {
        recorder.end_of_container();
        output.drain(now);
    }

    static void write(const Fd& to, std::string_view text) {
        REQUIRE(::write(to.number(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
    }

    // The log without its stamps: "stdout F text" lines.
    std::string logged() const {
        std::string text;
        const std::string all = support::read_file(log);
        for (size_t at = 0; at < all.size();) {
            const size_t end = all.find('\n', at);
            REQUIRE(end != std::string::npos);
            REQUIRE(end - at > 35);
            CHECK(all[at + 35] == ' ');
            text += all.substr(at + 36, end + 1 - (at + 36));
            at = end + 1;
        }
        return text;
    }
};

std::string next_packet(const Fd& client) {
    std::vector<char> packet(100'000);
    const ssize_t count = ::recv(client.number(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (count < 0) {
        return "<none>";
    }
    return count == 0 ? "<end>" : std::string(packet.data(), static_cast<size_t>(count));
}

} // namespace

TEST_CASE("lines of both streams are recorded whole, a piece of one only when its stream pauses") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    fixture.write(fixture.out, "one\ntwo\npart");
    fixture.write(fixture.err, "bad\n");
    fixture.serve();
    CHECK(fixture.logged() == "stdout F one\nstdout F two\nstderr F bad\n");
    fixture.write(fixture.out, "ial\n");
    fixture.serve();
    CHECK(fixture.logged() == "stdout F one\nstdout F two\nstderr F bad\nstdout F partial\n");
    fixture.write(fixture.out, "prompt> ");
    fixture.serve();
    REQUIRE(fixture.output.deadline() != sys::never);
    CHECK(fixture.output.deadline() - fixture.now <= 100);
    fixture.wait_until(fixture.output.deadline());
    CHECK(fixture.logged().ends_with("stdout P prompt> \n"));
    CHECK(fixture.output.deadline() == sys::never);
    CHECK(fixture.serve() == 0);
}

TEST_CASE("a stream that ends is closed, its last piece recorded, and it costs no more turns") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    fixture.write(fixture.out, "last");
    fixture.out.reset();
    CHECK(fixture.serve() < 10);
    CHECK_FALSE(fixture.output.is_open(Stream::standard_output));
    CHECK(fixture.output.is_open(Stream::standard_error));
    CHECK(fixture.logged() == "stdout P last\n");
    CHECK(fixture.serve() == 0);
    CHECK(fixture.output.deadline() == sys::never);
}

TEST_CASE("a flood of one stream leaves turns to the other") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    std::string flood;
    while (flood.size() < 60'000) {
        flood += "flood\n";
    }
    for (int i = 0; i < 20; ++i) {
        fixture.write(fixture.out, flood);
        fixture.write(fixture.err, "!\n");
        fixture.serve();
    }
    const std::string log = fixture.logged();
    size_t errors = 0;
    for (size_t at = 0; (at = log.find("stderr F !", at)) != std::string::npos; ++at) {
        ++errors;
    }
    CHECK(errors == 20);
    CHECK(log.size() == 20 * (flood.size() + 9 * (flood.size() / 6)) + 20 * 11);
}

TEST_CASE(
    "a slow client holds the container back, loses nothing, and costs no turns (regression 1)") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    Fd client{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(client, fixture.directory / "attach"));
    fixture.serve();
    std::string sent;
    std::string line(99, 'l');
    line += '\n';
    for (int i = 0; i < 20'000; ++i) {
        if (::write(fixture.out.number(), line.data(), line.size()) < 0) {
            if (fixture.serve() == 0) {
                break; // held back
            }
            continue;
        }
        sent += line;
    }
    REQUIRE(fixture.clients.owing());
    CHECK(fixture.serve() == 0);
    // What was read is in the log, although nobody took it.
    CHECK_FALSE(fixture.logged().empty());
    fixture.write(fixture.err, "held too\n");
    CHECK(fixture.serve() == 0);

    std::string got;
    for (int i = 0; i < 100'000; ++i) {
        const std::string packet = next_packet(client);
        if (packet == "<none>") {
            if (fixture.serve() == 0) {
                break;
            }
            continue;
        }
        if (packet[0] == 2) {
            got += packet.substr(1);
        }
    }
    CHECK((got == sent));
    CHECK_FALSE(fixture.clients.owing());
    CHECK(fixture.logged().find("stderr F held too\n") != std::string::npos);
}

TEST_CASE("what is left in the pipes at the end is recorded and offered, up to what they hold") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    const bool attached = GENERATE(false, true);
    Fd client;
    if (attached) {
        client = Fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
        REQUIRE(sys::connect_path(client, fixture.directory / "attach"));
        fixture.serve();
    }
    std::string text;
    while (text.size() < 60'000) {
        text += "line of the end\n";
    }
    fixture.write(fixture.out, text + "torn");
    fixture.write(fixture.err, "err\n");
    fixture.end();
    fixture.recorder.flush(fixture.now);
    CHECK_FALSE(fixture.output.is_open(Stream::standard_output));
    CHECK_FALSE(fixture.output.is_open(Stream::standard_error));
    const std::string log = fixture.logged();
    CHECK(log.find("stdout P torn\n") != std::string::npos);
    CHECK(log.find("stderr F err\n") != std::string::npos);
    CHECK(log.size() == text.size() + 9 * (text.size() / 16) + 14 + 13);
    if (attached) {
        std::string got;
        while (fixture.clients.owing() || got.size() < text.size() + 4) {
            const std::string packet = next_packet(client);
            if (packet == "<none>") {
                REQUIRE(fixture.serve() != 0);
                continue;
            }
            if (packet[0] == 2) {
                got += packet.substr(1);
            }
        }
        CHECK((got == text + "torn"));
    }
}

TEST_CASE("a descendant that writes on does not keep the end from coming") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    // Every read finds more than it takes: the writer refills the pipe before each.
    const Fd writer{::dup(fixture.out.number())};
    const Faults faults([&](const shadow::Call& call) {
        if (call.name == "read") {
            const std::string more(30'000, '\n');
            (void)!::write(writer.number(), more.data(), more.size());
        }
        return shadow::Instead{};
    });
    fixture.write(fixture.out, "x\n");
    fixture.end();
    CHECK(faults.count("read") < 20);
    CHECK_FALSE(fixture.output.is_open(Stream::standard_output));
}

TEST_CASE("while the runtime runs output is kept, for its report or for the log") {
    Fixture fixture;
    fixture.write(fixture.err, "runtime says no\n");
    fixture.write(fixture.out, "early\n");
    fixture.serve();
    CHECK(fixture.logged().empty());
    CHECK(fixture.output.last_words() == "runtime says no\n");
    fixture.output.start(fixture.now);
    fixture.recorder.flush(fixture.now);
    const std::string log = fixture.logged();
    CHECK(log.find("stderr F runtime says no\n") != std::string::npos);
    CHECK(log.find("stdout F early\n") != std::string::npos);
}

TEST_CASE("a runtime that floods its streams is not blocked, and its last words are kept") {
    Fixture fixture;
    std::string said;
    for (int i = 0; i < 30'000; ++i) {
        const std::string line = "line " + std::to_string(i) + " of a talkative runtime\n";
        while (::write(fixture.err.number(), line.data(), line.size()) < 0) {
            REQUIRE(errno == EAGAIN);
            REQUIRE(fixture.serve() != 0);
        }
        said += line;
    }
    fixture.err.reset();
    fixture.output.collect_last_words(fixture.now);
    const std::string_view words = fixture.output.last_words();
    CHECK(words.size() == 8192);
    CHECK((words == std::string_view(said).substr(said.size() - 8192)));
}

TEST_CASE("the end of the last words is waited for without blocking (regression 11)") {
    Fixture fixture;
    fixture.write(fixture.err, "nope\n");
    fixture.output.collect_last_words(fixture.now); // the stream is still open somewhere
    CHECK(fixture.output.last_words() == "nope\n");
}

TEST_CASE("a terminal that nobody has open is asked again after a while, without spinning") {
    Fixture fixture;
    fixture.output.start(fixture.now);
    Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)};
    REQUIRE(::grantpt(master.number()) == 0);
    REQUIRE(::unlockpt(master.number()) == 0);
    const std::string name = ::ptsname(master.number());
    Fd slave{::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC)};
    REQUIRE(fixture.output.use(Stream::standard_output, std::move(master)));
    fixture.write(slave, "one\n");
    fixture.serve();
    slave.reset();
    CHECK(fixture.serve() < 5);
    CHECK(fixture.output.is_open(Stream::standard_output));
    const Instant again = fixture.output.deadline();
    REQUIRE(again != sys::never);
    CHECK(again - fixture.now >= 10);
    CHECK(fixture.serve() == 0);
    slave = Fd{::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC)};
    fixture.write(slave, "two\n");
    fixture.wait_until(again);
    fixture.serve();
    CHECK(fixture.logged().find("two") != std::string::npos);
}

TEST_CASE("a stream that cannot be read is closed with one warning") {
    unit::Heard heard;
    Fixture fixture;
    fixture.output.start(fixture.now);
    fixture.write(fixture.out, "x\n");
    {
        // EIO: a page that was spliced into the pipe from a broken disk stays at its front.
        const Faults faults("read", 1, GENERATE(EBADF, EIO));
        fixture.serve();
    }
    CHECK(heard.lines() == 1);
    CHECK_FALSE(fixture.output.is_open(Stream::standard_output));
    CHECK(fixture.serve() == 0);
}

TEST_CASE("a stream that floods gets a larger pipe for a time, and only one at a time does") {
    Fixture f;
    f.output.start(f.now);
    const auto size_of = [](const Fd& pipe) { return ::fcntl(pipe.number(), F_GETPIPE_SZ); };
    const std::string line = std::string(999, 'x') + '\n';
    const auto flood = [&](const Fd& pipe) {
        for (int i = 0; i < 60; ++i) {
            Fixture::write(pipe, line);
        }
        f.serve();
    };
    const int size = size_of(f.out);
    Fixture::write(f.out, line);
    f.serve();
    CHECK(size_of(f.out) == size);
    flood(f.out);
    CHECK(size_of(f.out) == Buffers::flood_max);
    flood(f.err);
    CHECK(size_of(f.err) == size);
    Fixture::write(f.out, std::string(Buffers::flood_max, '\n'));
    f.output.end_flood(); // it is only held back, and still floods
    CHECK(size_of(f.out) == Buffers::flood_max);
    f.serve();
    f.output.end_flood();
    CHECK(size_of(f.out) == size);
    flood(f.err);
    CHECK(size_of(f.err) == Buffers::flood_max);
    CHECK(f.logged().size() == 181 * (line.size() + std::string_view{"stdout F "}.size()) +
                                   Buffers::flood_max * std::string_view{"stdout F \n"}.size());
}

TEST_CASE("a silent client and a slow log hold back a runtime that floods, and do no harm") {
    const support::TempDir place;
    const std::string path = place / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fixture fixture(path); // not started: the runtime still runs
    const Fd client{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(client, fixture.directory / "attach"));
    fixture.serve();
    const Fd log{::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    std::array<char, 4096> bytes{};

    // The log has room for nothing, and then the client neither.
    while (::write(log.number(), bytes.data(), bytes.size()) > 0) {
    }

    const std::string line = std::string(200, 'f') + "\n";
    size_t lines = 0;
    for (int i = 0; i < 3; ++i) {
        while (::write(fixture.out.number(), line.data(), line.size()) > 0) {
            ++lines;
        }
        fixture.serve();
    }
    REQUIRE(fixture.recorder.waits_for_reader());
    const std::string packet(4000, 'p');
    while (!fixture.clients.owing()) {
        fixture.clients.offer(Stream::standard_error, base::bytes_of(packet), fixture.now);
    }
    std::string got;
    const auto read_log = [&] {
        const ssize_t count = ::read(log.number(), bytes.data(), bytes.size());
        got.append(bytes.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
        fixture.wait_until(fixture.now + 1);
    };
    for (int i = 0; i < 60; ++i) {
        read_log();
    }
    CHECK(fixture.clients.owing());
    fixture.clients.close_all();
    fixture.output.start(fixture.now);
    const auto whole = [&] { return std::count(got.begin(), got.end(), '\n'); };
    for (int i = 0; i < 10'000 && static_cast<size_t>(whole()) < lines; ++i) {
        read_log();
        fixture.serve();
    }
    CHECK(static_cast<size_t>(whole()) == lines);
}

TEST_CASE("a log that is a fifo with a slow reader holds the container back and loses nothing "
          "(regression 12)") {
    const support::TempDir place;
    const std::string path = place / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fixture fixture(path);
    fixture.output.start(fixture.now);
    std::string sent;
    const std::string line = std::string(200, 'f') + "\n";
    for (int i = 0; i < 10'000; ++i) {
        if (::write(fixture.out.number(), line.data(), line.size()) < 0) {
            if (fixture.serve(50) == 0) {
                break;
            }
            continue;
        }
        sent += line;
    }
    REQUIRE(fixture.recorder.waits_for_reader());
    CHECK(fixture.serve() == 0);
    const Fd reader{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    std::string got;
    char bytes[16'384];
    for (int i = 0; i < 10'000 && got.size() < sent.size() / 201 * (201 + 45); ++i) {
        const ssize_t count = ::read(reader.number(), bytes, sizeof bytes);
        if (count > 0) {
            got.append(bytes, static_cast<size_t>(count));
        }
        fixture.wait_until(fixture.now + 1);
        fixture.serve();
    }
    CHECK(got.size() == sent.size() / 201 * (201 + 45));
    CHECK(static_cast<size_t>(std::count(got.begin(), got.end(), '\n')) == sent.size() / 201);
}

TEST_CASE("a log that is a fifo whose reader has gone is not asked for every record") {
    unit::Heard heard;
    const support::TempDir place;
    const std::string path = place / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fixture fixture(path);
    fixture.output.start(fixture.now);
    const std::string lines = [] {
        std::string text;
        for (int n = 0; n < 1000; ++n) {
            text += "a line of some twenty bytes\n";
        }
        return text;
    }();
    while (!fixture.recorder.waits_for_reader()) {
        Fixture::write(fixture.out, lines);
        fixture.serve();
    }
    fixture.wait_until(fixture.now + 1); // begins to count
    fixture.wait_until(fixture.now + record::stall_max_ms);
    REQUIRE_FALSE(fixture.recorder.waits_for_reader());
    const Faults faults([](const shadow::Call&) { return shadow::Instead{}; });
    const auto lost = [&] { return fixture.counters.records.lost_to_disk.records; };
    for (int n = 0; n < 10; ++n) {
        Fixture::write(fixture.out, lines);
        fixture.serve();
    }
    CHECK(lost() > 7000);
    CHECK(faults.count("write") + faults.count("writev") < 10);
}

TEST_CASE("a stream that is faster than the rate is read now and then, the other at once") {
    Fixture f({}, {.bytes_per_second = 1000, .burst = 500, .excess = record::Excess::wait});
    f.output.start(f.now);
    std::string text;
    for (int n = 0; n < 250; ++n) {
        text += std::to_string(1000 + n) + " waits\n"; // of 11 bytes: the rate cuts most lines
    }
    Fixture::write(f.out, text);
    f.serve();
    CHECK(f.serve() == 0);
    CHECK(f.logged().size() / 20 == 500 / 11);
    Fixture::write(f.err, "at once\n");
    f.serve();
    CHECK(f.logged().find("stderr F at once\n") != std::string::npos);
    size_t before = f.logged().size();
    int wakes = 0;
    const Instant start = f.now;
    while (f.logged().find("stdout F 1249 waits\n") == std::string::npos) {
        const Instant due = std::min(f.output.deadline(), f.recorder.deadline());
        REQUIRE(due != sys::never);
        REQUIRE(due > f.now);
        f.wait_until(due);
        f.serve();
        REQUIRE(++wakes < 100);
        CHECK(f.logged().size() - before <= 11 * 20);
        before = f.logged().size();
    }
    // 2,750 bytes less the burst, and no line was cut by the waiting.
    CHECK(f.now - start >= 2200);
    CHECK(f.now - start <= 2500);
    CHECK(f.logged().find(" P ") == std::string::npos);
    CHECK(f.counters.records.rate_waits >= 20);
    CHECK(f.counters.stalls == 0);
}

TEST_CASE("a prompt of a stream that waits for the rate is recorded after it") {
    Fixture f({}, {.bytes_per_second = 100, .burst = 10, .excess = record::Excess::wait});
    f.output.start(f.now);
    Fixture::write(f.out, "prompt: ");
    Fixture::write(f.err, "0123456789");
    f.serve();
    for (int n = 0; n < 20 && f.output.deadline() != sys::never; ++n) {
        f.wait_until(std::min(f.output.deadline(), f.recorder.deadline()));
        f.serve();
    }
    CHECK(f.logged() == "stdout P prompt: \nstderr P 0123456789\n");
    CHECK(f.output.deadline() == sys::never);
    CHECK(f.serve() == 0);
}

TEST_CASE("a container that waits for the rate and ends loses nothing, and its end does not wait") {
    const bool drops = GENERATE(false, true);
    Fixture f({},
              {.bytes_per_second = 10,
               .burst = 10,
               .excess = drops ? record::Excess::drop : record::Excess::wait});
    f.output.start(f.now);
    std::string text;
    for (int n = 0; n < 5000; ++n) {
        text += std::to_string(10'000 + n) + "\n";
    }
    Fixture::write(f.out, "first\nsecond\n");
    f.serve();
    Fixture::write(f.out, text);
    f.end();
    f.recorder.finish(f.now);
    const std::string log = f.logged();
    CHECK(static_cast<size_t>(std::count(log.begin(), log.end(), '\n')) == 5002);
    CHECK(log.find("stdout F 14999\n") != std::string::npos);
    CHECK(f.counters.records.lost_to_rate.records == 0);
}

TEST_CASE("who is attached sees what the log drops") {
    Fixture f({}, {.bytes_per_second = 10, .burst = 10, .excess = record::Excess::drop});
    f.output.start(f.now);
    Fd client{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(client, f.directory / "attach"));
    f.serve();
    Fixture::write(f.out, "0123456789\ndropped\ntoo\n");
    f.serve();
    CHECK(next_packet(client).substr(1) == "0123456789\ndropped\ntoo\n");
    CHECK(f.logged() == "stdout F 0123456789\n");
    f.wait_until(f.recorder.deadline());
    CHECK(f.logged() == "stdout F 0123456789\nstdout F mote: dropped by MOTE_LOG_RATE, records "
                        "lost: 2, bytes lost: 10\n");
}

TEST_CASE("each time that the container is held back is a stall, and lasts until it is not") {
    Fixture f;
    f.output.start(f.now);
    Fd client{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(client, f.directory / "attach"));
    f.serve();
    const std::string line = std::string(999, 'l') + '\n';
    for (int i = 0; i < 20'000 && !f.clients.owing(); ++i) {
        if (::write(f.out.number(), line.data(), line.size()) < 0) {
            f.serve();
        }
    }
    REQUIRE(f.clients.owing());
    CHECK(f.counters.stalls == 1);
    f.wait_until(f.now + 300);
    CHECK(f.counters.stall_ms == 300);
    f.wait_until(f.now + 200);
    CHECK(f.counters.stall_ms == 500);
    f.clients.close_all();
    f.wait_until(f.now + 1);
    CHECK(f.counters.stall_ms == 501);
    f.wait_until(f.now + 1000);
    CHECK(f.counters.stall_ms == 501);
    CHECK(f.counters.stalls == 1);
}
