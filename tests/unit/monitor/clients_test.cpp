// Attach clients: packets, back pressure, ends, floods, and that nothing is lost or spins.

#include "monitor/clients.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "sys/socket.h"
#include "unit/monitor/heard.h"

#include <map>
#include <optional>
#include <random>
#include <string>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

using monitor::Clients;
using monitor::EndOfInput;
using monitor::Input;
using record::Stream;
using shadow::Faults;
using sys::Event;
using sys::Fd;
using sys::Instant;
using sys::Source;

namespace {

struct Fixture {
    support::TempDir directory;
    unit::Loop loop;
    sys::Diag diag;
    std::vector<std::byte> buffer = std::vector<std::byte>(32'768);
    monitor::Counters counters{};
    Input input;
    Clients clients;
    sys::Pipe pipe = *sys::make_pipe(O_NONBLOCK);
    Instant now = 1000;

    explicit Fixture(int64_t stall_ms = 0, EndOfInput end = EndOfInput::closes_stdin)
        : input{loop.poller, diag, buffer, end},
          clients{loop.poller, diag, counters, input, stall_ms} {
        const Fd at{::open(directory.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        REQUIRE(clients.listen(at));
        input.use(std::move(pipe.write_end));
    }

    Fd connect() {
        Fd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        REQUIRE(sys::connect_path(socket, directory / "attach"));
        serve();
        return socket;
    }

    // As the monitor's loop does; `most` events at most.
    size_t serve(size_t most = 2000) {
        return loop.run(
            [&](const Event& event) {
                switch (event.source) {
                case Source::attach_listener:
                    clients.accept_waiting(now);
                    break;
                case Source::attach_client:
                    clients.on_client_ready(event.slot, event.mask, now);
                    break;
                case Source::standard_input:
                    input.on_ready();
                    break;
                default:
                    FAIL("an event of a strange source");
                }
                if (input.take_freed()) {
                    clients.resume_input();
                }
            },
            most);
    }

    void offer(std::string_view text, Stream stream = Stream::standard_output) {
        clients.offer(stream, base::bytes_of(text), now);
    }

    std::string typed() {
        std::string text;
        char bytes[8192];
        for (;;) {
            const ssize_t count = ::read(pipe.read_end.number(), bytes, sizeof bytes);
            if (count <= 0) {
                return count == 0 ? text + "<end>" : text;
            }
            text.append(bytes, static_cast<size_t>(count));
        }
    }
};

// The next packet; "<end>", or "<none>" when there is none yet.
std::string next_packet(const Fd& client) {
    std::vector<char> packet(100'000);
    const ssize_t count = ::recv(client.number(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (count < 0) {
        return errno == EAGAIN ? "<none>" : "<error>";
    }
    return count == 0 ? "<end>" : std::string(packet.data(), static_cast<size_t>(count));
}

void send(const Fd& client, std::string_view packet) {
    REQUIRE(::send(client.number(), packet.data(), packet.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(packet.size()));
}

} // namespace

TEST_CASE("output goes to every client in packets with a stream byte, in order") {
    Fixture fixture;
    const Fd one = fixture.connect();
    const Fd two = fixture.connect();
    CHECK(fixture.clients.count() == 2);
    fixture.offer("out");
    fixture.offer("err", Stream::standard_error);
    for (const Fd* client : {&one, &two}) {
        CHECK(next_packet(*client) == "\x02out");
        CHECK(next_packet(*client) == "\x03"
                                      "err");
        CHECK(next_packet(*client) == "<none>");
    }
    CHECK_FALSE(fixture.clients.owing());
    CHECK(fixture.serve() == 0);
    CHECK(support::mode_of(fixture.directory / "attach") == 0700);
}

TEST_CASE("no packet has more than 8,192 bytes of payload, and none is empty") {
    Fixture fixture;
    const Fd client = fixture.connect();
    for (const size_t size : {1, 8191, 8192, 8193, 16'384, 20'000}) {
        std::string text(size, ' ');
        for (size_t at = 0; at < size; ++at) {
            text[at] = static_cast<char>('a' + at % 26);
        }
        fixture.offer(text);
        std::string got;
        while (got.size() < size) {
            const std::string packet = next_packet(client);
            if (packet == "<none>") {
                REQUIRE(fixture.serve() != 0);
                continue;
            }
            REQUIRE(packet.size() > 1);
            REQUIRE(packet.size() <= 8193);
            REQUIRE(packet[0] == 2);
            got += packet.substr(1);
        }
        CHECK(got == text);
        CHECK_FALSE(fixture.clients.owing());
    }
    fixture.offer("");
    CHECK(next_packet(client) == "<none>");
}

TEST_CASE("output before a client came is not replayed") {
    Fixture fixture;
    fixture.offer("early");
    CHECK_FALSE(fixture.clients.owing());
    const Fd client = fixture.connect();
    fixture.offer("late");
    CHECK(next_packet(client) == "\x02late");
}

TEST_CASE("a client that does not read is owed its output without costing turns (regression 1)") {
    Fixture fixture;
    const Fd slow = fixture.connect();
    const Fd fast = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    CHECK(fixture.clients.owing());
    // The fast one gets everything while the slow one stands still.
    size_t got = 0;
    for (int i = 0; i < 10'000 && got < text.size(); ++i) {
        const std::string packet = next_packet(fast);
        if (packet == "<none>") {
            fixture.serve();
            continue;
        }
        got += packet.size() - 1;
    }
    CHECK(got == text.size());
    CHECK(fixture.clients.owing());
    CHECK(fixture.serve() == 0);
    CHECK(fixture.clients.deadline() == sys::never);
    // Others are served, too: input still comes through.
    send(fast, "typed");
    fixture.serve();
    CHECK(fixture.typed() == "typed");
    got = 0;
    for (int i = 0; i < 10'000 && got < text.size(); ++i) {
        const std::string packet = next_packet(slow);
        if (packet == "<none>") {
            REQUIRE(fixture.serve() != 0);
            continue;
        }
        got += packet.size() - 1;
    }
    CHECK(got == text.size());
    CHECK_FALSE(fixture.clients.owing());
}

TEST_CASE("a client that comes while another is owed gets only what is offered later") {
    Fixture fixture;
    const Fd slow = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    REQUIRE(fixture.clients.owing());
    const Fd late = fixture.connect();
    CHECK(next_packet(late) == "<none>");
    for (int i = 0; i < 10'000 && fixture.clients.owing(); ++i) {
        (void)next_packet(slow);
        fixture.serve();
    }
    REQUIRE_FALSE(fixture.clients.owing());
    CHECK(next_packet(late) == "<none>");
    fixture.offer("new");
    CHECK(next_packet(late) == "\x02new");
}

TEST_CASE("with several offers in flight a late client gets those after its arrival, in order") {
    Fixture fixture;
    const Fd slow = fixture.connect();
    const std::string first(1 << 20, 'a');
    fixture.offer(first);
    REQUIRE(fixture.clients.owing());
    const Fd late = fixture.connect();
    fixture.offer("second", Stream::standard_error);
    fixture.offer("third");
    CHECK(next_packet(late) == "\x03second");
    CHECK(next_packet(late) == "\x02third");
    std::string out;
    std::string err;
    for (int i = 0; i < 10'000 && fixture.clients.owing(); ++i) {
        for (std::string packet; (packet = next_packet(slow)) != "<none>";) {
            (packet[0] == 2 ? out : err) += packet.substr(1);
        }
        fixture.serve();
    }
    for (std::string packet; (packet = next_packet(slow)) != "<none>";) {
        (packet[0] == 2 ? out : err) += packet.substr(1);
    }
    CHECK(out == first + "third");
    CHECK(err == "second");
}

TEST_CASE("clients that go, in any way, while they are owed free the container") {
    Fixture fixture;
    std::vector<Fd> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(fixture.connect());
    }
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    REQUIRE(fixture.clients.owing());
    SECTION("by closing") {
        clients.clear();
    }
    SECTION("by shutting down both ways") {
        for (const Fd& client : clients) {
            ::shutdown(client.number(), SHUT_RDWR);
        }
    }
    CHECK(fixture.serve() < 100);
    CHECK_FALSE(fixture.clients.owing());
    CHECK(fixture.serve() < 10);
    clients.clear();
    fixture.serve();
    CHECK(fixture.clients.count() == 0);
}

TEST_CASE("a half-closed client still gets output, and costs no turns") {
    Fixture fixture(0, EndOfInput::closes_stdin);
    const Fd client = fixture.connect();
    send(client, "bye");
    ::shutdown(client.number(), SHUT_WR);
    CHECK(fixture.serve() < 10);
    CHECK(fixture.typed() == "bye<end>");
    CHECK(fixture.clients.count() == 1);
    fixture.offer("still");
    CHECK(next_packet(client) == "\x02still");
    CHECK(fixture.serve() == 0);
}

TEST_CASE("an empty packet ends a client's input as a shutdown does") {
    Fixture fixture;
    const Fd client = fixture.connect();
    REQUIRE(::send(client.number(), "", 0, 0) == 0);
    CHECK(fixture.serve() < 10);
    CHECK(fixture.typed() == "<end>");
    fixture.offer("x");
    CHECK(next_packet(client) == "\x02x");
}

TEST_CASE("a thousand attaches and ends leave no descriptor (regression 4)") {
    Fixture fixture(0, EndOfInput::ignored);
    const auto before = unit::open_descriptors();
    for (int i = 0; i < 1000; ++i) {
        const Fd client = fixture.connect();
        if (i % 3 == 0) {
            ::shutdown(client.number(), SHUT_WR);
            fixture.serve();
        }
    }
    CHECK(fixture.serve() < 100);
    CHECK(fixture.clients.count() == 0);
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("packets of about the buffer's size come through, longer ones are cut (regression 68)") {
    for (const size_t size : {32'767, 32'768, 32'769, 60'000}) {
        Fixture fixture;
        const Fd client = fixture.connect();
        INFO(size);
        std::string packet(size, 'p');
        packet[0] = 'q';
        send(client, packet);
        std::string got;
        for (int i = 0; i < 100; ++i) {
            fixture.serve();
            got += fixture.typed();
        }
        CHECK(got == packet.substr(0, 32'768));
        send(client, "next");
        fixture.serve();
        CHECK(fixture.typed() == "next");
    }
}

TEST_CASE("while input is pending no client is read, and then each in turn, nothing lost") {
    Fixture fixture;
    const Fd one = fixture.connect();
    const Fd two = fixture.connect();
    std::map<char, size_t> sent;
    std::map<char, size_t> got;
    const auto type = [&](const Fd& client, char letter) {
        const std::string packet(20'000, letter);
        while (::send(client.number(), packet.data(), packet.size(), MSG_DONTWAIT) > 0) {
            sent[letter] += packet.size();
        }
    };
    for (int round = 0; round < 5; ++round) {
        type(one, 'a');
        type(two, 'b');
        for (int i = 0; i < 200; ++i) {
            fixture.serve();
            for (const char letter : fixture.typed()) {
                ++got[letter];
            }
        }
    }
    CHECK(got == sent);
    CHECK(fixture.serve() == 0);
}

TEST_CASE("more clients than there is room for are refused, and one is taken when one goes") {
    unit::Heard heard;
    Fixture fixture;
    std::vector<Fd> clients;
    for (size_t i = 0; i < Clients::clients_max; ++i) {
        clients.push_back(fixture.connect());
    }
    CHECK(fixture.clients.count() == Clients::clients_max);
    CHECK(heard.lines() == 0);
    const Fd refused = fixture.connect();
    CHECK(next_packet(refused) == "<end>");
    CHECK(heard.lines() == 1);
    CHECK(fixture.serve() == 0);
    clients.erase(clients.begin() + 10);
    fixture.serve();
    clients.push_back(fixture.connect());
    CHECK(fixture.clients.count() == Clients::clients_max);
    fixture.offer("all");
    for (const Fd& client : clients) {
        CHECK(next_packet(client) == "\x02"
                                     "all");
    }
}

TEST_CASE("an accept that goes on failing costs one warning and no turns (regression 4)") {
    const int code = GENERATE(EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM, EPROTO);
    INFO(code);
    unit::Heard heard;
    Fixture fixture;
    const Fd served = fixture.connect();
    {
        const Faults faults([code](const shadow::Call& call) {
            return shadow::Instead{.error = call.name == "accept4" ? code : 0};
        });
        const Fd waiting{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
        REQUIRE(sys::connect_path(waiting, fixture.directory / "attach"));
        CHECK(fixture.serve() == 1);
        CHECK(heard.lines() == 1);
        CHECK(fixture.clients.deadline() != sys::never);
        fixture.offer("x");
        CHECK(next_packet(served) == "\x02x");
        fixture.clients.expire(fixture.now); // too early
        CHECK(fixture.serve() == 0);
        fixture.now = fixture.clients.deadline();
        fixture.clients.expire(fixture.now);
        CHECK(fixture.serve() == 1); // tried once more
    }
    fixture.now = fixture.clients.deadline();
    fixture.clients.expire(fixture.now);
    fixture.serve();
    CHECK(fixture.clients.deadline() == sys::never);
    const Fd next = fixture.connect();
    fixture.offer("y");
    CHECK(next_packet(next) == "\x02y");
}

TEST_CASE("an accept that fails for the moment does not stop the listener") {
    Fixture fixture;
    for (const int code : {ECONNABORTED, EINTR, EAGAIN}) {
        INFO(code);
        {
            const Faults faults("accept4", 1, code);
            const Fd client{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
            REQUIRE(sys::connect_path(client, fixture.directory / "attach"));
            fixture.serve();
        }
        fixture.serve();
        const Fd client = fixture.connect();
        fixture.offer("x");
        CHECK(next_packet(client) == "\x02x");
    }
}

TEST_CASE("a client that takes nothing for too long is dropped, if that was asked for") {
    unit::Heard heard;
    Fixture fixture(500);
    const Fd stalled = fixture.connect();
    const Fd good = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    REQUIRE(fixture.clients.owing());
    CHECK(fixture.clients.deadline() == fixture.now + 500);
    fixture.now += 400;
    while (next_packet(good) != "<none>") {
    }
    fixture.serve(); // it took something
    fixture.clients.expire(fixture.now);
    CHECK(fixture.clients.count() == 2);
    fixture.now += 100;
    fixture.clients.expire(fixture.now);
    CHECK(fixture.clients.count() == 1);
    CHECK(heard.lines() == 1);
    CHECK(fixture.clients.owing());
    CHECK(fixture.clients.deadline() == fixture.now + 400);
}

// An open defect; the tag goes when it is mended. (The kernel tells of room only when three
// quarters of it are free.)
TEST_CASE("a client that takes a packet now and then is not dropped") {
    Fixture fixture(500);
    const Fd slow = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    for (int i = 0; i < 4; ++i) {
        CHECK(next_packet(slow).size() == 8193);
        fixture.serve();
        fixture.now += 400;
        fixture.clients.expire(fixture.now);
        REQUIRE(fixture.clients.count() == 1);
    }
}

TEST_CASE("a client that stops receiving without closing is let go with its connection") {
    Fixture fixture;
    Fd client = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer(text);
    ::shutdown(client.number(), SHUT_RD);
    CHECK(fixture.serve() < 10);
    client.reset();
    CHECK(fixture.serve() < 10);
    CHECK_FALSE(fixture.clients.owing());
    CHECK(fixture.clients.count() == 0);
}

TEST_CASE("what was typed before the container's input is there arrives, and then its end "
          "(regression 70)") {
    Fixture fixture;
    sys::Pipe later = *sys::make_pipe(O_NONBLOCK);
    fixture.input.close();
    fixture.input.expect_destination();
    const Fd client = fixture.connect();
    send(client, "pasted ");
    send(client, "early");
    ::shutdown(client.number(), SHUT_WR);
    CHECK(fixture.serve() < 5);
    fixture.input.use(std::move(later.write_end));
    fixture.clients.resume_input();
    fixture.serve();
    fixture.pipe.read_end = std::move(later.read_end);
    CHECK(fixture.typed() == "pasted early<end>");
}

TEST_CASE("at the end clients that are owed nothing are closed, the others keep their sockets") {
    Fixture fixture;
    const Fd served = fixture.connect();
    const std::string text(1 << 20, 'z');
    fixture.offer("hello");
    CHECK(next_packet(served) == "\x02hello");
    const Fd slow = fixture.connect();
    fixture.offer(text);
    while (next_packet(served) != "<none>") {
        fixture.serve();
    }
    fixture.serve();
    REQUIRE(fixture.clients.owing());
    fixture.clients.close_served();
    CHECK(next_packet(served) == "<end>");
    CHECK(next_packet(slow)[0] == 2);
    CHECK(fixture.clients.count() == 1);
    std::array<sys::FdRef, 64> fds;
    CHECK(fixture.clients.put_fds(fds) == 1);
    const Fd late{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    CHECK_FALSE(sys::connect_path(late, fixture.directory / "attach"));
    fixture.clients.close_all();
    CHECK(fixture.clients.count() == 0);
    CHECK_FALSE(fixture.clients.owing());
}

TEST_CASE("a lingerer that cannot wait for lack of memory serves all the same, without a spin") {
    Fixture fixture;
    const Fd client = fixture.connect();
    const std::string out(300'000, 'o');
    fixture.offer(out);
    REQUIRE(fixture.clients.owing());
    size_t received = 0;
    int polls = 0;
    // Between two of its attempts the client takes what there is.
    const Faults faults([&](const shadow::Call& call) {
        if (call.name != "poll") {
            return shadow::Instead{};
        }
        ++polls;
        std::array<char, 9000> packet;
        for (ssize_t size = 0;
             (size = ::recv(client.number(), packet.data(), packet.size(), MSG_DONTWAIT)) > 0;) {
            received += static_cast<size_t>(size) - 1;
        }
        return shadow::Instead{.error = ENOMEM};
    });
    const sys::Instant start = sys::monotonic_ms();
    fixture.clients.serve_to_the_end();
    CHECK(received > 100'000);
    CHECK(fixture.clients.count() == 0);
    CHECK(sys::monotonic_ms() - start >= (polls - 1) * 100);
}

TEST_CASE("a lingerer serves each to the end, and ends when all have it or are gone") {
    Fixture fixture;
    std::vector<Fd> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(fixture.connect());
    }
    const std::string out(300'000, 'o');
    const std::string err(200'000, 'e');
    fixture.offer(out);
    fixture.offer(err, Stream::standard_error);
    REQUIRE(fixture.clients.owing());
    fixture.clients.close_served();
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        clients.clear();
        fixture.clients.serve_to_the_end();
        ::_exit(fixture.clients.owing() ? 1 : 0);
    }
    fixture.clients.close_all();
    clients[1].reset(); // goes away
    for (const size_t which : {0UL, 2UL}) {
        std::string got[2];
        for (;;) {
            pollfd ready{.fd = clients[which].number(), .events = POLLIN, .revents = 0};
            REQUIRE(::poll(&ready, 1, 10'000) == 1);
            const std::string packet = next_packet(clients[which]);
            if (packet == "<end>") {
                break;
            }
            REQUIRE((packet[0] == 2 || packet[0] == 3));
            got[packet[0] - 2] += packet.substr(1);
        }
        CHECK(got[0] == out);
        CHECK(got[1] == err);
    }
    int status = -1;
    CHECK(::waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

TEST_CASE("random coming, going, typing, reading and offering never loses, doubles or spins") {
    for (uint32_t seed = 0; seed < 30; ++seed) {
        INFO("seed " << seed);
        std::mt19937 random(seed);
        const auto before = unit::open_descriptors();
        {
            Fixture fixture(0, EndOfInput::ignored);
            struct One {
                Fd socket;
                std::string expected;
                std::string got;
            };
            std::vector<One> clients;
            std::vector<std::string> offered; // stays where it is until nobody is owed
            offered.reserve(4000);
            size_t typed = 0;
            size_t taken = 0;
            for (int step = 0; step < 400; ++step) {
                One* const one = clients.empty() ? nullptr : &clients[random() % clients.size()];
                switch (random() % 7) {
                case 0:
                    if (clients.size() < 20) {
                        clients.push_back({.socket = fixture.connect(), .expected = {}, .got = {}});
                    }
                    break;
                case 1:
                    if (one != nullptr && random() % 3 == 0) {
                        clients.erase(clients.begin() + (one - clients.data()));
                        fixture.serve();
                    }
                    break;
                case 2:
                    if (one != nullptr) {
                        const std::string packet(1 + random() % 500, 't');
                        if (::send(one->socket.number(), packet.data(), packet.size(), 0) > 0) {
                            typed += packet.size();
                        }
                    }
                    break;
                case 3:
                case 4:
                    if (!fixture.clients.owing()) {
                        std::string text(1 + random() % 60'000, ' ');
                        for (char& c : text) {
                            c = static_cast<char>(random());
                        }
                        offered.push_back(std::move(text));
                        for (One& each : clients) {
                            each.expected += offered.back();
                        }
                        fixture.offer(offered.back());
                    }
                    break;
                default:
                    if (one != nullptr) {
                        for (size_t n = random() % 20; n != 0; --n) {
                            const std::string packet = next_packet(one->socket);
                            if (packet == "<none>") {
                                break;
                            }
                            one->got += packet.substr(1);
                        }
                    }
                    fixture.serve();
                }
                REQUIRE(fixture.serve() < 2000);
                taken += fixture.typed().size();
            }
            for (int i = 0; i < 5000 && fixture.clients.owing(); ++i) {
                for (One& each : clients) {
                    for (std::string packet; (packet = next_packet(each.socket)) != "<none>";) {
                        each.got += packet.substr(1);
                    }
                }
                fixture.serve();
            }
            CHECK_FALSE(fixture.clients.owing());
            for (One& each : clients) {
                for (std::string packet; (packet = next_packet(each.socket)) != "<none>";) {
                    each.got += packet.substr(1);
                }
                CHECK((each.got == each.expected));
            }
            for (int i = 0; i < 50; ++i) {
                fixture.serve();
                taken += fixture.typed().size();
            }
            CHECK(taken <= typed); // what a client typed before it closed may be lost with it
            CHECK(fixture.serve() == 0);
        }
        CHECK(unit::open_descriptors() == before);
    }
}
