// Reports to the caller through every kind of pipe, whose writes fail or are short: what arrives is
// one line that a strict parser reads, with the number and what was meant, of a long text its end.

#include "fuzz/input.h"
#include "monitor/parent.h"
#include "support/json_string.h"
#include "sys/fd.h"

#include <array>
#include <csignal>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using fuzz::must;

constexpr std::array<std::string_view, 3> calls{"write", "poll", "getsockopt"};
constexpr std::array<std::string_view, 3> key_names{"data", "exit_code", "pid"};
constexpr std::array keys{
    monitor::ReportKey::data, monitor::ReportKey::exit_code, monitor::ReportKey::pid};

struct Ends {
    sys::Fd ours;
    sys::Fd theirs;
    bool keeps_records = false;
};

Ends make_ends(uint8_t kind) {
    int ends[2];
    if (kind % 4 == 0) {
        must(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    } else {
        const int type = kind % 4 == 1 ? SOCK_STREAM : SOCK_SEQPACKET;
        must(::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    }
    return {.ours = sys::Fd{ends[0]}, .theirs = sys::Fd{ends[1]}, .keeps_records = kind % 4 > 1};
}

// Everything that has come, and whether a packet was larger than the caller's buffer.
std::string read_all(const sys::Fd& from, size_t& largest) {
    static std::vector<char> bytes(1 << 17);
    std::string text;
    for (ssize_t count = 0; (count = ::read(from.number(), bytes.data(), bytes.size())) > 0;) {
        text.append(bytes.data(), static_cast<size_t>(count));
        largest = std::max(largest, static_cast<size_t>(count));
    }
    return text;
}

void check(std::string_view line, std::string_view key, int value, std::string_view message) {
    const std::string head = "{\"" + std::string(key) + "\": " + std::to_string(value);
    must(line.starts_with(head) && line.ends_with("}\n"));
    line.remove_prefix(head.size());
    line.remove_suffix(2);
    if (message.empty()) {
        must(line.empty());
        return;
    }
    constexpr std::string_view before = ", \"message\": \"";
    must(line.starts_with(before) && line.ends_with('"'));
    line.remove_prefix(before.size());
    line.remove_suffix(1);
    const size_t from = message.size() - std::min(message.size(), monitor::report_text_max);
    must(support::read_json_string(line) == support::readable(message.substr(from)));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const auto before = std::signal(SIGPIPE, SIG_IGN); // as the monitor does
    must(before != SIG_ERR);
    fuzz::Input input{data, size};
    const uint8_t kind = input.byte();
    Ends ends = make_ends(kind);
    fuzz::Plan plan;
    const shadow::Faults faults([&](const shadow::Call& call) { return plan.judge(call); });
    if ((kind & 0x80U) != 0) {
        plan.draw(input, calls);
    }
    sys::Diag diag;
    diag.leave_standard_error();
    const size_t which = input.byte() % keys.size();
    monitor::Parent parent{keys[which], diag};
    parent.report(1, "there is no pipe yet");
    parent.announce_sockets();
    if ((kind & 0x10U) != 0) {
        parent.use_attach_pipe(std::move(ends.theirs));
        parent.announce_sockets();
        size_t largest = 0;
        must(read_all(ends.ours, largest) == "{\"data\": 0}\n" || plan.drawn());
        return 0;
    }
    parent.use_sync_pipe(std::move(ends.theirs));
    const int value = static_cast<int16_t>(input.number());
    std::string message{input.bytes(10'000)};
    if ((kind & 0x20U) != 0) {
        const std::string once = message;
        while (message.size() < 9000 && !once.empty()) {
            message += once;
        }
    }
    if ((kind & 0x40U) != 0) {
        ends.ours.reset(); // the caller has gone
    }
    parent.report(value, message);
    if ((kind & 0x40U) != 0) {
        must(!parent.sync_pipe().valid());
        parent.report(value, message);
        return 0;
    }
    size_t largest = 0;
    const std::string line = read_all(ends.ours, largest);
    must(parent.sync_pipe().valid() || plan.drawn());
    if (parent.sync_pipe().valid()) {
        check(line, key_names[which], value, message);
        must(!ends.keeps_records || plan.drawn() || largest <= 4096);
    }
    return 0;
}
