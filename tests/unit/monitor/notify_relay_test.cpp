// The relay of sd_notify messages: the allow-list of contract.md 3.5, and a host that comes and
// goes.

#include "monitor/notify_relay.h"
#include "shadow/faults.h"
#include "support/files.h"
#include "sys/socket.h"
#include "unit/monitor/heard.h"

#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>

using monitor::NotifyRelay;
using sys::Event;
using sys::Fd;

namespace {

std::string allowed(std::string_view datagram) {
    base::Text<65'536> sink;
    monitor::put_allowed_notices(sink, datagram);
    CHECK_FALSE(sink.overflowed());
    return std::string(sink.view());
}

} // namespace

TEST_CASE("only harmless notices pass, each as it is (regression 66)") {
    CHECK(allowed("READY=1\nMAINPID=1\nFDSTORE=1\nSTATUS=up\nEXTEND_TIMEOUT_USEC=5\nX_FOO=1") ==
          "READY=1\nSTATUS=up");
    for (const std::string passes : {"READY=1",
                                     "RELOADING=1",
                                     "STOPPING=1",
                                     "WATCHDOG=1",
                                     "WATCHDOG=trigger",
                                     "STATUS=",
                                     "STATUS=READY=0 and more \xff",
                                     "ERRNO=2",
                                     "BUSERROR=org.freedesktop.x",
                                     "MONOTONIC_USEC=123"}) {
        INFO(passes);
        CHECK(allowed(passes) == passes);
    }
    for (const std::string stays : {"READY=0",
                                    "READY=1 ",
                                    " READY=1",
                                    "READY=11",
                                    "READY=",
                                    "READY",
                                    "ready=1",
                                    "XREADY=1",
                                    "RELOADING=2",
                                    "STOPPING=0",
                                    "WATCHDOG=0",
                                    "WATCHDOG=triggerx",
                                    "WATCHDOG_USEC=1",
                                    "MAINPID=1",
                                    "MAINPIDFDID=1",
                                    "FDSTORE=1",
                                    "FDSTOREREMOVE=1",
                                    "FDNAME=x",
                                    "FDPOLL=0",
                                    "BARRIER=1",
                                    "NOTIFYACCESS=all",
                                    "EXTEND_TIMEOUT_USEC=1",
                                    "STATU=x",
                                    "STATUS",
                                    "ERRNO",
                                    "MONOTONIC_USE=1",
                                    "X_STATUS=1",
                                    "=",
                                    ""}) {
        INFO(stays);
        CHECK(allowed(stays).empty());
    }
}

TEST_CASE("notices are split at LF and CR, empty ones dropped, and joined by LF") {
    CHECK(allowed("READY=1\n") == "READY=1");
    CHECK(allowed("\n\n\rREADY=1\r\n\r\nSTATUS=x\r\r") == "READY=1\nSTATUS=x");
    CHECK(allowed("READY=1\rSTATUS=x") == "READY=1\nSTATUS=x");
    CHECK(allowed("STATUS=a\nSTATUS=b\nREADY=1") == "STATUS=a\nSTATUS=b\nREADY=1");
    CHECK(allowed("\n\r\n").empty());
    // Nothing can be smuggled in behind another one.
    CHECK(allowed("STATUS=x\rMAINPID=1") == "STATUS=x");
}

TEST_CASE("a datagram ends at a NUL") {
    using namespace std::string_view_literals;
    CHECK(allowed("READY=1\0\nSTATUS=x"sv) == "READY=1");
    CHECK(allowed("STATUS=a\0b"sv) == "STATUS=a");
    CHECK(allowed("\0READY=1"sv).empty());
}

namespace {

// The relay between a container that sends and a host that receives.
struct Fixture {
    support::TempDir directory;
    std::string host_path = directory / "host";
    unit::Loop loop;
    sys::Diag diag;
    std::vector<std::byte> datagram = std::vector<std::byte>(32'768);
    std::vector<char> notices = std::vector<char>(32'769);
    NotifyRelay relay{loop.poller, diag, datagram, notices};
    Fd host;
    sys::Instant now = 1000;

    Fixture() {
        REQUIRE(::mkdir((directory / "notify").c_str(), 0700) == 0);
        REQUIRE(relay.open(directory.path().c_str(), host_path.c_str()));
        start_host();
    }

    void start_host() {
        ::unlink(host_path.c_str());
        host = Fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        REQUIRE(sys::bind_path(host, host_path));
    }

    void stop_host() {
        host.reset();
        ::unlink(host_path.c_str());
    }

    void send(std::string_view datagram) {
        const Fd sender{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        const int size = 1 << 20;
        ::setsockopt(sender.number(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        REQUIRE(sys::connect_path(sender, directory / "notify/notify.sock"));
        REQUIRE(::send(sender.number(), datagram.data(), datagram.size(), 0) ==
                static_cast<ssize_t>(datagram.size()));
    }

    size_t serve() {
        return loop.run([&](const Event& event) {
            CHECK(event.source == sys::Source::notify);
            relay.on_ready(now);
        });
    }

    std::optional<std::string> received() {
        std::vector<char> datagram(100'000);
        const ssize_t count = ::recv(host.number(), datagram.data(), datagram.size(), 0);
        if (count < 0) {
            return std::nullopt;
        }
        return std::string(datagram.data(), static_cast<size_t>(count));
    }
};

} // namespace

TEST_CASE("a message goes to the host, filtered, and one without allowed notices does not") {
    Fixture fixture;
    CHECK(support::mode_of(fixture.directory / "notify/notify.sock") == 0777);
    fixture.send("READY=1\nMAINPID=7\n");
    fixture.send("MAINPID=7");
    fixture.send("STATUS=fine");
    fixture.serve();
    CHECK(fixture.received() == "READY=1");
    CHECK(fixture.received() == "STATUS=fine");
    CHECK_FALSE(fixture.received());
    CHECK(fixture.serve() == 0);
}

TEST_CASE("an empty datagram is not an end, and what comes after it is relayed") {
    Fixture fixture;
    fixture.send("");
    fixture.send("READY=1");
    CHECK(fixture.serve() < 20);
    CHECK(fixture.received() == "READY=1");
}

TEST_CASE("messages of about the buffer's size are relayed, longer ones cut (regression 68)") {
    for (const size_t length : {32'767, 32'768, 32'769, 60'000}) {
        Fixture fixture;
        INFO(length);
        std::string text = "STATUS=";
        text.resize(length, 's');
        fixture.send(text);
        fixture.serve();
        CHECK(fixture.received() == text.substr(0, 32'768));
    }
}

TEST_CASE("descriptors that come with a message are dropped") {
    Fixture fixture;
    const Fd sender{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    REQUIRE(sys::connect_path(sender, fixture.directory / "notify/notify.sock"));
    char text[] = "READY=1";
    iovec part{.iov_base = text, .iov_len = 7};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const auto before = unit::open_descriptors();
    REQUIRE(::sendmsg(sender.number(), &message, 0) == 7);
    fixture.serve();
    CHECK(fixture.received() == "READY=1");
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("a host that is gone for a moment costs the messages of that moment (regression 67)") {
    unit::Heard heard;
    Fixture fixture;
    fixture.stop_host();
    const auto before = unit::open_descriptors();
    fixture.send("STATUS=lost");
    CHECK(fixture.serve() < 20);
    CHECK(heard.lines() == 1);
    CHECK(unit::open_descriptors() == before);
    fixture.start_host();
    fixture.send("STATUS=heard");
    fixture.serve();
    CHECK(fixture.received() == "STATUS=heard");
    CHECK(heard.lines() == 0);
}

TEST_CASE("a host that does not read holds messages back, blocks nothing and loses none") {
    unit::Heard heard;
    Fixture fixture;
    size_t sent = 0;
    for (; sent < 1000 && !fixture.relay.holds_message(); ++sent) {
        fixture.send("STATUS=" + std::to_string(sent));
        fixture.serve();
    }
    REQUIRE(fixture.relay.holds_message());
    fixture.send("STATUS=" + std::to_string(sent++));
    CHECK(fixture.serve() == 0);
    REQUIRE(fixture.relay.deadline() != sys::never);
    CHECK(fixture.relay.deadline() > fixture.now);
    // Still full: tried again in a while.
    fixture.now = fixture.relay.deadline();
    fixture.relay.expire(fixture.now);
    CHECK(fixture.relay.deadline() > fixture.now);
    CHECK(fixture.serve() == 0);
    for (size_t i = 0; i < sent; ++i) {
        auto message = fixture.received();
        if (!message) {
            fixture.now = fixture.relay.deadline();
            fixture.relay.expire(fixture.now);
            fixture.serve();
            message = fixture.received();
        }
        CHECK(message == "STATUS=" + std::to_string(i));
    }
    CHECK(fixture.relay.deadline() == sys::never);
    CHECK(heard.lines() == 0);
}

TEST_CASE("a host that goes while a message is held back costs that message") {
    unit::Heard heard;
    Fixture fixture;
    for (int i = 0; i < 1000 && !fixture.relay.holds_message(); ++i) {
        fixture.send("STATUS=x");
        fixture.serve();
    }
    REQUIRE(fixture.relay.holds_message());
    fixture.stop_host();
    fixture.now = fixture.relay.deadline();
    fixture.relay.expire(fixture.now);
    CHECK_FALSE(fixture.relay.holds_message());
    CHECK(fixture.relay.deadline() == sys::never);
    CHECK(heard.lines() == 1);
    fixture.start_host();
    fixture.send("READY=1");
    fixture.serve();
    CHECK(fixture.received() == "READY=1");
}

TEST_CASE("a message for which there is no memory is received later, without spinning") {
    Fixture fixture;
    fixture.send("STATUS=late");
    {
        const shadow::Faults faults([](const shadow::Call& call) {
            return shadow::Instead{.error = call.name == "recvmsg" ? ENOMEM : 0};
        });
        CHECK(fixture.serve() < 5);
        fixture.now = fixture.relay.deadline();
        fixture.relay.expire(fixture.now);
        CHECK(fixture.serve() < 5);
    }
    REQUIRE(fixture.relay.deadline() > fixture.now);
    CHECK_FALSE(fixture.received());
    fixture.relay.expire(fixture.relay.deadline());
    CHECK(fixture.relay.deadline() == sys::never);
    fixture.serve();
    CHECK(fixture.received() == "STATUS=late");
    CHECK_FALSE(fixture.received());
}

TEST_CASE("a flood of messages is served some at a time") {
    Fixture fixture;
    for (int i = 0; i < 10; ++i) {
        fixture.send("STATUS=" + std::to_string(i));
    }
    const auto events = fixture.loop.poller.wait(0, 0, fixture.loop.batch);
    REQUIRE(events);
    REQUIRE(events->size() == 1);
    const shadow::Faults faults;
    fixture.relay.on_ready(fixture.now);
    CHECK(faults.count("recvmsg") <= 17);
    fixture.serve();
    for (int i = 0; i < 10; ++i) {
        CHECK(fixture.received() == "STATUS=" + std::to_string(i));
    }
}

TEST_CASE("a bundle without a notify directory is refused with the reason") {
    const support::TempDir directory;
    unit::Loop loop;
    sys::Diag diag;
    const auto before = unit::open_descriptors();
    {
        std::vector<std::byte> datagram(32'768);
        std::vector<char> notices(32'769);
        NotifyRelay relay(loop.poller, diag, datagram, notices);
        const auto opened = relay.open(directory.path().c_str(), "/nowhere");
        REQUIRE_FALSE(opened);
        CHECK(opened.error().code == ENOENT);
    }
    CHECK(unit::open_descriptors() == before);
}

TEST_CASE("the notify socket works in a bundle with a long path (regression 35)") {
    const support::TempDir directory(300);
    REQUIRE(::mkdir((directory / "notify").c_str(), 0700) == 0);
    unit::Loop loop;
    sys::Diag diag;
    std::vector<std::byte> datagram(32'768);
    std::vector<char> notices(32'769);
    NotifyRelay relay(loop.poller, diag, datagram, notices);
    REQUIRE(relay.open(directory.path().c_str(), "/nowhere"));
    CHECK(support::type_of(directory / "notify/notify.sock") == S_IFSOCK);
}
