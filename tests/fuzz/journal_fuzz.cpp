// Container output in any bytes and any pieces, to a journal that is full at any time: every
// datagram is the native protocol to the letter, and its messages are the lines of the byte-by-byte
// model, without the priorities in front of them.

#include "record/journal.h"
#include "support/k8s_model.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <poll.h>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

std::string received;      // as the model's log: a tag, the message, a newline
bool is_full = false;      // the journal takes nothing
bool at_line_start = true; // of the stream, for which priorities count
std::string wanted_log;

// One field of a datagram, taken off its front.
std::pair<std::string_view, std::string_view> take_field(std::string_view& bytes) {
    const size_t end = bytes.find('\n');
    must(end != std::string_view::npos);
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (const size_t equals = line.find('='); equals != std::string_view::npos) {
        return {line.substr(0, equals), line.substr(equals + 1)};
    }
    uint64_t size = 0;
    must(bytes.size() > sizeof size);
    std::memcpy(&size, bytes.data(), sizeof size);
    bytes.remove_prefix(sizeof size);
    must(bytes.size() > size && bytes[size] == '\n');
    const std::string_view value = bytes.substr(0, size);
    bytes.remove_prefix(size + 1);
    return {line, value};
}

void take_datagram(std::string_view bytes) {
    const auto [name, message] = take_field(bytes);
    must(name == "MESSAGE");
    must(take_field(bytes) ==
         std::pair<std::string_view, std::string_view>("CONTAINER_ID_FULL", "0123456789abcdef"));
    const auto [priority_name, priority] = take_field(bytes);
    must(priority_name == "PRIORITY" && priority.size() == 1 && priority[0] >= '0' &&
         priority[0] <= '7');
    must(take_field(bytes).second == "0123456789ab");
    must(take_field(bytes) ==
         std::pair<std::string_view, std::string_view>("SYSLOG_IDENTIFIER", "0123456789ab"));
    const bool is_part = !bytes.empty();
    if (is_part) {
        must(take_field(bytes).first == "CONTAINER_PARTIAL_MESSAGE" && bytes.empty());
    }
    must(message.ends_with('\n') == !is_part);
    received += is_part ? 'P' : 'F';
    // What was taken off the front of a line is put back, so that the streams can be compared.
    const std::string_view rest = std::string_view{wanted_log}.substr(received.size());
    const std::string prefix = "<" + std::string(priority) + ">";
    if (at_line_start && rest.starts_with(prefix)) {
        received += prefix;
    } else if (at_line_start) {
        must(priority == "6");
        must(rest.size() < 3 || rest[0] != '<' || rest[1] < '0' || rest[1] > '7' ||
             rest[2] != '>' || rest.substr(0, 3).contains('\n'));
    }
    received += message;
    if (is_part) {
        received += '\n';
    }
    at_line_start = !is_part;
}

} // namespace

// In place of the C library's.
extern "C" int socket(int, int, int) noexcept {
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

extern "C" int connect(int, const sockaddr*, socklen_t) {
    return 0;
}

extern "C" ssize_t sendmsg(int, const msghdr* message, int) {
    if (is_full) {
        errno = EAGAIN;
        return -1;
    }
    std::string bytes;
    for (size_t at = 0; at < message->msg_iovlen; ++at) {
        const iovec& part = message->msg_iov[at];
        bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    take_datagram(bytes);
    return static_cast<ssize_t>(bytes.size());
}

// The first byte is the limit of a record. Then come pieces, each behind a byte whose highest bit
// says that the journal is full while it comes, and whose other bits are its size.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const size_t record_max = data[0] + size_t{3}; // a priority is never cut
    // What is to come out is known beforehand.
    support::K8sModel model{"?", record_max};
    for (size_t at = 1; at < size;) {
        const size_t taken = std::min<size_t>(data[at] & 0x7fU, size - at - 1);
        model.bring({reinterpret_cast<const char*>(data + at + 1), taken}, record::Tail::hold_back);
        at += 1 + taken;
    }
    model.bring("", record::Tail::record);
    wanted_log = model.log();
    received.clear();
    at_line_start = true;

    static const auto storage = std::make_unique_for_overwrite<record::Journal::Storage>();
    record::Counters counters{};
    sys::Diag diag;
    record::Journal journal{
        {.is_on = true, .id = "0123456789abcdef"}, record_max, *storage, counters, diag};
    must(journal.open().has_value());
    for (size_t at = 1; at < size;) {
        is_full = (data[at] & 0x80U) != 0;
        const size_t taken = std::min<size_t>(data[at] & 0x7fU, size - at - 1);
        const std::string piece{reinterpret_cast<const char*>(data + at + 1), taken};
        journal.keep(
            record::Stream::standard_output, base::bytes_of(piece), record::Patience::later, 0);
        is_full = false;
        if (journal.is_waiting()) {
            journal.expire(1);
        }
        must(!journal.is_waiting());
        at += 1 + taken;
    }
    journal.finish(0);
    must(received == wanted_log);
    return 0;
}
