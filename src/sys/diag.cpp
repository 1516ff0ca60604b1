#include "sys/diag.h"

#include "base/errno_text.h"
#include "base/stamp.h"
#include "sys/calls.h"
#include "sys/clock.h"
#include "sys/socket.h"
#include "sys/zone.h"

#include <algorithm>

namespace sys {

using base::Error;
using base::Text;

namespace {

constexpr std::string_view log_socket = "/dev/log";
constexpr size_t subject_max = 20;

char letter_of(Severity severity) {
    switch (severity) {
    case Severity::error:
        return 'e';
    case Severity::warning:
        return 'w';
    case Severity::info:
        return 'i';
    case Severity::debug:
    case Severity::trace:
        return 'd';
    }
    return '?';
}

std::string_view kind_of(Severity severity, bool carries_errno) {
    switch (severity) {
    case Severity::error:
        return "error";
    case Severity::warning:
        return carries_errno ? "pwarnf" : "nwarn";
    case Severity::info:
        return "ninfo";
    case Severity::debug:
        return "ndebug";
    case Severity::trace:
        return "ntrace";
    }
    return "?";
}

// "Nov  4 12:00:00 " in local time, as syslog(3) writes it.
void put_time(base::TextSink& sink, Zone* zone) {
    constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const WallTime now = wall_time();
    base::Stamp stamp;
    stamp.set(now.seconds, 0, zone == nullptr ? 0 : zone->offset_at(now.seconds));
    const std::string_view text = stamp.view(); // YYYY-MM-DDThh:mm:ss...
    const size_t month = static_cast<size_t>((text[5] - '0') * 10 + (text[6] - '1'));
    sink.put(std::string_view{months.data() + month * 3, 3}).put(' ');
    sink.put(text[8] == '0' ? ' ' : text[8]).put(text[9]).put(' ');
    sink.put(std::string_view{text.data() + 11, 8}).put(' ');
}

} // namespace

void Diag::say(Severity severity, std::string_view text, const Error& error) {
    if (!says(severity)) {
        return;
    }
    Message message;
    message.put(text).put(": ").put(error.call).put(": ");
    base::put_errno(message, error.code);
    deliver(severity, message.view(), error.code);
}

void Diag::deliver(Severity severity, std::string_view text, int code) {
    if (!says(severity)) {
        return;
    }
    if (to_stderr_) {
        write_stderr(severity, text);
    }
    if (settings_.to_syslog) {
        send_syslog(severity, text, code != 0);
    }
}

void Diag::write_stderr(Severity severity, std::string_view text) const {
    Text<1100> line;
    line.put("[conmon:").put(letter_of(severity)).put("]: ");
    line.put({text.data(), std::min(text.size(), line.room() - 1)}).put('\n');
    (void)sys::write(STDERR_FILENO, line.view().data(), line.size());
}

void Diag::send_syslog(Severity severity, std::string_view text, bool carries_errno) {
    Text<1200> datagram;
    // user.err for errors, user.info for the rest, as conmon.
    datagram.put(severity == Severity::error ? "<11>" : "<14>");
    put_time(datagram, settings_.zone);
    datagram.put(settings_.program).put(": conmon ");
    datagram.put(std::string_view{settings_.subject.data(),
                                  std::min(settings_.subject.size(), subject_max)});
    datagram.put(" <").put(kind_of(severity, carries_errno)).put(">: ").put(text).put('\n');

    const std::string_view line = datagram.view();
    iovec part{.iov_base = const_cast<char*>(line.data()), .iov_len = line.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    (void)send_datagram(syslog_, log_socket, message);
}

} // namespace sys
