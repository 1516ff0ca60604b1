// Entries of a journal that fails: it is not there, full, restarted, takes no large datagrams, or
// no memory is to be had for them. What comes out is the native protocol to the letter, with the
// fields that the settings ask for, and entries that were to come, in order; without a fault all of
// them.
//
// The standard output is anything; the standard error says "E" now and then, which nothing else has
// with its priority.

#include "fuzz/input.h"
#include "record/journal.h"

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using fuzz::must;

constexpr std::array<std::string_view, 6> calls{
    "sendmsg", "connect", "socket", "writev", "fcntl", "poll"};
constexpr std::array<std::string_view, 2> names{"a name", "two\nlines"};
constexpr std::string_view id = "0123456789abcdef";

struct Entry {
    std::string message;
    char priority = '6';
    bool is_part = false;

    bool operator==(const Entry&) const = default;
};

std::vector<std::string> received;
size_t datagram_max = 0; // a larger one is EMSGSIZE

// One field, taken off the front.
std::pair<std::string, std::string> take_field(std::string_view& bytes) {
    const size_t end = bytes.find('\n');
    must(end != std::string_view::npos);
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (const size_t equals = line.find('='); equals != std::string_view::npos) {
        return {std::string(line.substr(0, equals)), std::string(line.substr(equals + 1))};
    }
    uint64_t size = 0;
    must(bytes.size() > sizeof size);
    std::memcpy(&size, bytes.data(), sizeof size);
    bytes.remove_prefix(sizeof size);
    must(bytes.size() > size && bytes[size] == '\n');
    const std::string value{bytes.substr(0, size)};
    bytes.remove_prefix(size + 1);
    return {std::string(line), value};
}

using Settings = record::Journal::Settings;

Entry read_entry(std::string_view bytes, const Settings& settings) {
    Entry entry;
    const auto expect = [&](std::string_view name, std::string_view value) {
        const auto field = take_field(bytes);
        must(field.first == name && field.second == value);
    };
    const auto message = take_field(bytes);
    must(message.first == "MESSAGE");
    entry.message = message.second;
    expect("CONTAINER_ID_FULL", id);
    const auto priority = take_field(bytes);
    must(priority.first == "PRIORITY" && priority.second.size() == 1);
    entry.priority = priority.second[0];
    must(entry.priority >= '0' && entry.priority <= '7');
    expect("CONTAINER_ID", id.substr(0, 12));
    const bool has_tag = settings.tag.data() != nullptr;
    if (has_tag) {
        expect("CONTAINER_TAG", settings.tag);
    }
    const bool has_name = settings.name.data() != nullptr;
    if (has_name) {
        expect("CONTAINER_NAME", settings.name);
    }
    expect("SYSLOG_IDENTIFIER",
           has_tag    ? settings.tag
           : has_name ? settings.name
                      : id.substr(0, 12));
    entry.is_part = !entry.message.ends_with('\n');
    if (entry.is_part && settings.marks_parts) {
        expect("CONTAINER_PARTIAL_MESSAGE", "true");
    }
    for (const std::string_view label : settings.labels) {
        const size_t equals = label.find('=');
        expect(label.substr(0, equals), label.substr(equals + 1));
    }
    must(bytes.empty());
    return entry;
}

// What the bytes of the standard output are to become.
std::vector<Entry> entries_of(const std::string& text, size_t record_max) {
    std::vector<Entry> entries;
    for (size_t at = 0; at < text.size();) {
        const size_t newline = text.find('\n', at);
        const bool has_end = newline != std::string::npos;
        std::string line = text.substr(at, (has_end ? newline : text.size()) - at);
        at += line.size() + (has_end ? 1 : 0);
        char priority = '6';
        bool is_first = true;
        do {
            std::string piece = line.substr(0, record_max);
            line.erase(0, piece.size());
            if (std::exchange(is_first, false) && piece.size() >= 3 && piece[0] == '<' &&
                piece[1] >= '0' && piece[1] <= '7' && piece[2] == '>') {
                priority = piece[1];
                piece.erase(0, 3);
            }
            const bool is_part = !line.empty() || !has_end;
            entries.push_back({piece + (is_part ? "" : "\n"), priority, is_part});
        } while (!line.empty());
    }
    return entries;
}

const Entry error_entry{.message = "E\n", .priority = '3', .is_part = false};

void check(
    const std::string& text, size_t record_max, size_t errors, const Settings& settings, bool all) {
    std::vector<Entry> wanted = entries_of(text, record_max);
    std::erase(wanted, error_entry);
    size_t next = 0;
    size_t count = 0;
    size_t found_errors = 0;
    for (const std::string& datagram : received) {
        const Entry entry = read_entry(datagram, settings);
        if (entry == error_entry) {
            ++found_errors;
            continue;
        }
        ++count;
        while (next < wanted.size() && wanted[next] != entry) {
            ++next;
        }
        must(next++ < wanted.size());
    }
    if (all) {
        must(count == wanted.size() && found_errors >= errors);
    }
}

// More fields than there is room for.
bool is_refused_when_too_long(record::Journal::Storage& storage, sys::Diag& diag) {
    const std::string long_name(record::Journal::fields_max, 'n');
    record::Counters counters{};
    record::Journal journal{
        {.is_on = true, .id = id, .name = long_name}, 256, storage, counters, diag};
    return !journal.open();
}

} // namespace

// In place of the C library's.
extern "C" int socket(int, int, int) noexcept {
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

extern "C" int connect(int, const sockaddr* to, socklen_t size) {
    const auto& path = reinterpret_cast<const char*>(to) + sizeof(sa_family_t);
    must(size > sizeof(sa_family_t) && path[size - sizeof(sa_family_t) - 1] == '\0');
    must(std::string_view{path}.starts_with("/run/systemd/journal"));
    return 0;
}

extern "C" ssize_t sendmsg(int, const msghdr* message, int) {
    std::string bytes;
    for (size_t at = 0; at < message->msg_iovlen; ++at) {
        const iovec& part = message->msg_iov[at];
        bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    if (bytes.size() > datagram_max) {
        errno = EMSGSIZE;
        return -1;
    }
    if (cmsghdr* const header = CMSG_FIRSTHDR(message); header != nullptr) {
        must(bytes.empty() && header->cmsg_type == SCM_RIGHTS);
        int file = -1;
        std::memcpy(&file, CMSG_DATA(header), sizeof file);
        must(::fcntl(file, F_GET_SEALS) ==
             (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
        bytes.resize(static_cast<size_t>(::lseek(file, 0, SEEK_END)));
        must(::pread(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    }
    received.push_back(bytes);
    return static_cast<ssize_t>(bytes.size());
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input{data, size};
    const uint8_t choice = input.byte();
    Settings settings{.is_on = true, .id = id};
    if ((choice & 1U) != 0) {
        settings.name = names[0];
    }
    if ((choice & 2U) != 0) {
        settings.tag = names[(choice >> 2) & 1U];
    }
    constexpr std::array<const char*, 2> labels{"LABEL=a value", "B=two\nlines"};
    settings.labels = std::span{labels}.first((choice >> 3) % 3U);
    settings.marks_parts = (choice & 0x40U) != 0;
    settings.name_space = (choice & 0x80U) != 0 ? "other" : nullptr;
    const size_t record_max = 3 + size_t{input.byte()};
    datagram_max = size_t{input.byte()} * 8;
    received.clear();

    fuzz::Plan plan;
    const shadow::Faults faults([&](const shadow::Call& call) { return plan.judge(call); });
    static const auto storage = std::make_unique_for_overwrite<record::Journal::Storage>();
    sys::Diag diag;
    diag.leave_standard_error();
    static const bool is_refused = is_refused_when_too_long(*storage, diag);
    must(is_refused);
    record::Counters counters{};
    record::Journal journal{settings, record_max, *storage, counters, diag};
    must(journal.open().has_value());
    sys::Instant now = 1;
    std::string text;
    size_t errors = 0;
    bool gave_up = false;
    while (!input.empty()) {
        const uint8_t step = input.byte();
        if (step < 0x20) {
            plan.draw(input, calls);
            continue;
        }
        if (step < 0x30) {
            // The journal's time is over, or it takes something again.
            const bool is_over = journal.is_waiting() && (step & 1U) != 0;
            gave_up = gave_up || is_over;
            now = is_over ? journal.deadline() : now + 1;
            journal.expire(now);
            continue;
        }
        while (journal.is_waiting()) {
            plan.stop();
            journal.expire(++now);
        }
        if (step < 0x40) {
            ++errors;
            journal.keep(record::Stream::standard_error,
                         base::bytes_of("E\n"),
                         record::Patience::later,
                         now);
            continue;
        }
        const std::string piece{input.bytes(step & 0x7fU)};
        text += piece;
        journal.keep(record::Stream::standard_output,
                     base::bytes_of(piece),
                     (step & 0x80U) != 0 ? record::Patience::now : record::Patience::later,
                     now);
    }
    journal.finish(now);
    check(text, record_max, errors, settings, !plan.drawn() && !gave_up);
    return 0;
}
