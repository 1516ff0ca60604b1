// Input: one packet at a time to the container's standard input, its end, and its disappearance.

#include "monitor/input.h"
#include "shadow/faults.h"
#include "unit/monitor/heard.h"

#include <cstring>
#include <optional>
#include <string>

using monitor::EndOfInput;
using monitor::Input;
using shadow::Faults;
using shadow::Instead;
using sys::Event;
using sys::Fd;

namespace {

struct Fixture {
    unit::Loop loop;
    sys::Diag diag;
    std::vector<std::byte> buffer = std::vector<std::byte>(32'768);
    Input input;
    sys::Pipe pipe = *sys::make_pipe(O_NONBLOCK);

    explicit Fixture(EndOfInput end = EndOfInput::closes_stdin)
        : input{loop.poller, diag, buffer, end} {}

    void use() { input.use(std::move(pipe.write_end)); }

    void type(std::string_view text) {
        REQUIRE(input.is_free());
        REQUIRE(text.size() <= input.room().size());
        std::memcpy(input.room().data(), text.data(), text.size());
        input.received(text.size());
    }

    size_t serve() {
        return loop.run([&](const Event& event) {
            CHECK(event.source == sys::Source::standard_input);
            input.on_ready();
        });
    }

    // What the container can read now; nothing more and the end: "<end>".
    std::string read() {
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

} // namespace

TEST_CASE("a packet is written at once, and the next one can come") {
    Fixture fixture;
    fixture.use();
    fixture.type("one ");
    fixture.type("two");
    CHECK(fixture.read() == "one two");
    CHECK(fixture.serve() == 0);
}

TEST_CASE("what the container does not take waits, no packet is taken meanwhile, nothing is lost") {
    Fixture fixture;
    fixture.use();
    std::string sent;
    const std::string packet(32'768, 'p');
    while (fixture.input.is_free()) {
        fixture.type(packet);
        sent += packet;
        REQUIRE(sent.size() < 1'000'000);
    }
    CHECK(fixture.serve() == 0); // a full pipe does not make us spin
    std::string got;
    for (int i = 0; i < 100 && got.size() < sent.size(); ++i) {
        got += fixture.read();
        fixture.serve();
    }
    CHECK(got == sent);
    CHECK(fixture.input.is_free());
    CHECK(fixture.serve() == 0);
}

TEST_CASE("short writes and interruptions lose and double nothing") {
    Fixture fixture;
    fixture.use();
    std::string text;
    for (int i = 0; i < 200; ++i) {
        text += std::to_string(i) + ' ';
    }
    const Faults faults([](const shadow::Call& call) {
        if (call.name != "write") {
            return Instead{};
        }
        return call.nth % 3 == 0 ? Instead{.error = EINTR} : Instead{.at_most = 7};
    });
    fixture.type(text);
    fixture.serve();
    CHECK(fixture.read() == text);
    CHECK(fixture.input.is_free());
}

TEST_CASE("the end of a client ends the container's input, after what is pending") {
    Fixture fixture;
    fixture.use();
    SECTION("nothing pending") {
        fixture.type("text");
        fixture.input.end_of_client();
        CHECK(fixture.read() == "text<end>");
    }
    SECTION("a full pipe") {
        std::string sent;
        while (fixture.input.is_free()) {
            fixture.type(std::string(32'768, 'x'));
            sent += std::string(32'768, 'x');
        }
        fixture.input.end_of_client();
        std::string got;
        for (int i = 0; i < 100 && got.find("<end>") == std::string::npos; ++i) {
            got += fixture.read();
            fixture.serve();
        }
        CHECK(got == sent + "<end>");
    }
    SECTION("two clients") {
        fixture.input.end_of_client();
        fixture.input.end_of_client();
        CHECK(fixture.read() == "<end>");
    }
    // Whatever is typed later is taken from its client and dropped.
    fixture.type("later");
    CHECK(fixture.input.is_free());
    CHECK(fixture.serve() == 0);
}

TEST_CASE("the end of a client is nothing when input is to stay open") {
    Fixture fixture(EndOfInput::ignored);
    fixture.use();
    fixture.type("a");
    fixture.input.end_of_client();
    fixture.type("b");
    CHECK(fixture.read() == "ab");
}

TEST_CASE("without a destination input is taken and dropped") {
    Fixture fixture;
    CHECK(fixture.input.is_free());
    fixture.type("lost");
    CHECK(fixture.input.is_free());
    fixture.input.end_of_client();
    CHECK(fixture.serve() == 0);
}

TEST_CASE("until an expected destination is there nothing is taken (regression 70)") {
    Fixture fixture;
    fixture.input.expect_destination();
    CHECK_FALSE(fixture.input.is_free());
    fixture.use();
    fixture.type("kept");
    CHECK(fixture.read() == "kept");
}

TEST_CASE("a client that ends before the destination is there ends nothing") {
    Fixture fixture;
    fixture.input.expect_destination();
    fixture.input.end_of_client();
    fixture.use();
    fixture.type("one");
    fixture.type(" two");
    CHECK(fixture.read() == "one two");
    fixture.input.end_of_client();
    CHECK(fixture.read() == "<end>");
}

TEST_CASE(
    "a container that has closed its input costs no turns and one debug line (regression 2)") {
    unit::Heard heard;
    Fixture fixture;
    ::signal(SIGPIPE, SIG_IGN);
    fixture.diag.configure({.detail = sys::Severity::debug, .subject = {}});
    fixture.use();
    fixture.pipe.read_end.reset();
    fixture.type("x");
    CHECK(fixture.input.is_free());
    CHECK(fixture.serve() == 0);
    CHECK(heard.lines() == 1);
    for (int i = 0; i < 10; ++i) {
        fixture.type("y");
    }
    fixture.input.end_of_client();
    CHECK(fixture.serve() == 0);
    CHECK(heard.lines() == 0);
}

TEST_CASE("a container that closes its input while we wait for room costs one turn") {
    Fixture fixture;
    ::signal(SIGPIPE, SIG_IGN);
    fixture.use();
    while (fixture.input.is_free()) {
        fixture.type(std::string(32'768, 'x'));
    }
    fixture.pipe.read_end.reset();
    CHECK(fixture.serve() == 1);
    CHECK(fixture.input.is_free());
}

TEST_CASE("closing input drops what is pending and leaves no descriptor") {
    const auto before = unit::open_descriptors();
    {
        Fixture fixture;
        fixture.use();
        while (fixture.input.is_free()) {
            fixture.type(std::string(32'768, 'x'));
        }
        fixture.input.close();
        CHECK(fixture.input.is_free());
        CHECK(fixture.serve() == 0);
        CHECK(fixture.read().find("<end>") != std::string::npos);
    }
    CHECK(unit::open_descriptors() == before);
}
