// Moving bytes: what is a value, what is an error, and that records stay whole.

#include "shadow/faults.h"
#include "sys/io.h"
#include "unit/sys/ours.h"

#include <array>
#include <string>
#include <vector>

#include <sys/socket.h>

using shadow::Faults;
using shadow::Instead;
using sys::Fd;
using sys::Moved;

namespace {

struct Pair {
    Fd ours;
    Fd theirs;
};

Pair record_pair() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    return {Fd{ends[0]}, Fd{ends[1]}};
}

bool is(const base::Result<Moved>& moved, Moved::State state, size_t count) {
    return moved && moved->state == state && moved->count == count;
}

std::string receive(sys::FdRef from) {
    std::array<char, 70'000> buffer;
    const ssize_t count = ::recv(from.number(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return count < 0 ? "nothing" : std::string(buffer.data(), static_cast<size_t>(count));
}

} // namespace

TEST_CASE("reading tells bytes, nothing yet, and the end apart") {
    auto pipe = *sys::make_pipe(O_NONBLOCK);
    std::array<std::byte, 10> buffer;
    CHECK(is(sys::read_some(pipe.read_end, buffer), Moved::State::would_block, 0));
    REQUIRE(::write(pipe.write_end.number(), "abc", 3) == 3);
    CHECK(is(sys::read_some(pipe.read_end, buffer), Moved::State::some, 3));
    CHECK(base::text_of(base::Bytes{buffer}.first(3)) == "abc");
    pipe.write_end.reset();
    CHECK(is(sys::read_some(pipe.read_end, buffer), Moved::State::ended, 0));
}

TEST_CASE("an interrupted call moved nothing and is tried again later, any other refusal is told") {
    auto pipe = *sys::make_pipe(O_NONBLOCK);
    std::array<std::byte, 10> buffer{};
    const base::Ring::ConstSpans two{base::Bytes{buffer}.first(4), base::Bytes{buffer}.last(6)};
    for (const auto& [name, attempt] :
         std::vector<std::pair<std::string_view, std::function<base::Result<Moved>()>>>{
             {"read", [&] { return sys::read_some(pipe.read_end, buffer); }},
             {"write", [&] { return sys::write_some(pipe.write_end, base::Bytes{buffer}); }},
             {"writev", [&] { return sys::write_some(pipe.write_end, two); }},
             {"sendmsg", [&] { return sys::send_record(pipe.write_end, std::byte{2}, buffer); }},
             {"recvmsg", [&] { return sys::receive_record(pipe.write_end, buffer); }},
         }) {
        INFO(name);
        for (const int code : {EINTR, EAGAIN}) {
            const Faults faults(name, 1, code);
            CHECK(is(attempt(), Moved::State::would_block, 0));
            CHECK(faults.fired());
        }
        for (const int code : {EIO, EPIPE, EBADF, ENOSPC, ECONNRESET}) {
            const Faults faults(name, 1, code);
            const auto refused = attempt();
            REQUIRE_FALSE(refused);
            CHECK(refused.error().code == code);
            CHECK_FALSE(std::string_view(refused.error().call).empty());
            CHECK(faults.fired());
        }
    }
}

TEST_CASE("two spans are written in order, and a short write says how much went") {
    auto pipe = *sys::make_pipe(O_NONBLOCK);
    const base::Ring::ConstSpans spans{base::bytes_of("first,"), base::bytes_of("second")};
    CHECK(is(sys::write_some(pipe.write_end, spans), Moved::State::some, 12));
    std::array<char, 100> read;
    REQUIRE(::read(pipe.read_end.number(), read.data(), read.size()) == 12);
    CHECK(std::string_view(read.data(), 12) == "first,second");
    const Faults faults([](const shadow::Call&) { return Instead{.at_most = 8}; });
    CHECK(is(sys::write_some(pipe.write_end, spans), Moved::State::some, 8));
    REQUIRE(::read(pipe.read_end.number(), read.data(), read.size()) == 8);
    CHECK(std::string_view(read.data(), 8) == "first,se");
}

TEST_CASE("a full pipe would block, and a pipe without a reader is an error without SIGPIPE") {
    CHECK(unit::in_copy([]() -> std::string {
              ::signal(SIGPIPE, SIG_IGN);
              auto pipe = *sys::make_pipe(O_NONBLOCK);
              std::vector<std::byte> much(1 << 20);
              const auto first = sys::write_some(pipe.write_end, much);
              if (!first || first->state != Moved::State::some || first->count >= much.size()) {
                  return "the first write was not short";
              }
              if (!is(sys::write_some(pipe.write_end, much), Moved::State::would_block, 0)) {
                  return "the second write did not say that it would block";
              }
              pipe.read_end.reset();
              const auto third = sys::write_some(pipe.write_end, much);
              return !third && third.error().code == EPIPE ? "" : "no EPIPE";
          }) == "");
}

TEST_CASE("a record is a tag and its payload in one packet, and counts its payload") {
    const Pair pair = record_pair();
    const std::string payload(8192, 'x');
    CHECK(is(sys::send_record(pair.ours, std::byte{2}, base::bytes_of(payload)),
             Moved::State::some,
             8192));
    CHECK(receive(pair.theirs) == "\x02" + payload);
    CHECK(is(sys::send_record(pair.ours, std::byte{3}, {}), Moved::State::some, 0));
    CHECK(receive(pair.theirs) == "\x03");
}

TEST_CASE(
    "a record that does not fit the peer's queue is not sent at all, even on a blocking socket") {
    const Pair pair = record_pair();
    const std::string payload(8192, 'y');
    size_t sent = 0;
    for (;; ++sent) {
        REQUIRE(sent < 10'000);
        const auto moved = sys::send_record(pair.ours, std::byte{2}, base::bytes_of(payload));
        REQUIRE(moved);
        if (moved->state == Moved::State::would_block) {
            break;
        }
    }
    for (; sent != 0; --sent) {
        CHECK(receive(pair.theirs).size() == 8193);
    }
    CHECK(receive(pair.theirs) == "nothing");
}

TEST_CASE("sending to a peer that has gone is an error and raises no SIGPIPE") {
    CHECK(unit::in_copy([]() -> std::string {
              ::signal(SIGPIPE, SIG_DFL);
              Pair pair = record_pair();
              pair.theirs.reset();
              const auto sent = sys::send_record(pair.ours, std::byte{2}, base::bytes_of("x"));
              return !sent && sent.error().code == EPIPE ? "" : "no EPIPE";
          }) == "");
}

TEST_CASE("receiving never blocks, keeps packets apart, and loses only what does not fit") {
    Pair pair = record_pair();
    std::array<std::byte, 4> buffer;
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::would_block, 0));
    REQUIRE(::send(pair.theirs.number(), "ab", 2, 0) == 2);
    REQUIRE(::send(pair.theirs.number(), "cdefgh", 6, 0) == 6);
    REQUIRE(::send(pair.theirs.number(), "ij", 2, 0) == 2);
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::some, 2));
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::some, 4));
    CHECK(base::text_of(buffer) == "cdef");
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::some, 2));
    CHECK(base::text_of(base::Bytes{buffer}.first(2)) == "ij");
}

TEST_CASE("the peer's end of input is a shutdown, a close, or an empty record") {
    Pair pair = record_pair();
    std::array<std::byte, 4> buffer;
    SECTION("an empty record") {
        REQUIRE(::send(pair.theirs.number(), "", 0, 0) == 0);
    }
    SECTION("a shutdown") {
        ::shutdown(pair.theirs.number(), SHUT_WR);
    }
    SECTION("a close") {
        pair.theirs.reset();
    }
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::ended, 0));
}

TEST_CASE("peeking tells a record, nothing yet and the end apart, and takes nothing") {
    Pair pair = record_pair();
    std::array<std::byte, 10> buffer;
    CHECK(is(sys::peek_record(pair.ours), Moved::State::would_block, 0));
    REQUIRE(::send(pair.theirs.number(), "abc", 3, 0) == 3);
    for (int i = 0; i < 2; ++i) {
        const auto next = sys::peek_record(pair.ours);
        REQUIRE(next);
        CHECK(next->state == Moved::State::some);
    }
    CHECK(is(sys::receive_record(pair.ours, buffer), Moved::State::some, 3));
    pair.theirs.reset();
    CHECK(is(sys::peek_record(pair.ours), Moved::State::ended, 0));
}
