#include "record/journal.h"

#include "base/scan.h"
#include "base/text.h"
#include "sys/calls.h"
#include "sys/socket.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace record {

using base::Bytes;
using base::fail;
using base::MutableBytes;
using base::Result;
using sys::Fd;
using sys::Instant;

namespace {

constexpr size_t short_id_size = 12;
constexpr size_t prefix_size = 3; // "<6>"

// What is copied at a time: the lines of a fast writer go through the same few pages.
constexpr size_t slice_max = 4096;

constexpr std::array streams{Stream::standard_output, Stream::standard_error};

constexpr char priority_of(Stream stream) {
    return stream == Stream::standard_output ? '6' : '3';
}

// Whether `content` begins with a priority as of sd-daemon(3).
bool has_priority(Bytes content) {
    const std::string_view text = base::text_of(content);
    return text.size() >= prefix_size && text[0] == '<' && text[1] >= '0' && text[1] <= '7' &&
           text[2] == '>';
}

// A field of any bytes: its value follows.
struct BinaryHead {
    char name[8] = {'M', 'E', 'S', 'S', 'A', 'G', 'E', '\n'};
    uint64_t length;
};
static_assert(std::endian::native == std::endian::little);

iovec part_of(std::string_view text) {
    // iovec has no const member, though sendmsg only reads.
    return {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
}

} // namespace

// ---------------------------------------------------------------------------------- the fields

void Journal::put(std::string_view text) {
    const size_t room = fields_max - std::min(fields_max, fields_size_);
    if (!text.empty()) {
        std::memcpy(
            storage_.fields.data() + fields_size_, text.data(), std::min(room, text.size()));
    }
    fields_size_ += text.size();
}

void Journal::put_field(std::string_view name, std::string_view value) {
    if (value.data() == nullptr) {
        return;
    }
    put(name);
    const uint64_t length = value.size();
    if (value.contains('\n')) {
        put("\n");
        put({reinterpret_cast<const char*>(&length), sizeof length});
    } else {
        put("=");
    }
    put(value);
    put("\n");
}

Result<void> Journal::open() {
    const std::string_view id{settings_.id};
    const std::string_view short_id{id.data(), std::min(id.size(), short_id_size)};
    put("\n"); // ends the message
    put_field("CONTAINER_ID_FULL", id);
    put_field("PRIORITY", "6");
    priority_at_ = fields_size_ - 2;
    put_field("CONTAINER_ID", short_id);
    put_field("CONTAINER_TAG", settings_.tag);
    put_field("CONTAINER_NAME", settings_.name);
    const std::string_view name = settings_.name.data() != nullptr ? settings_.name : short_id;
    put_field("SYSLOG_IDENTIFIER", settings_.tag.data() != nullptr ? settings_.tag : name);
    mark_at_ = fields_size_;
    if (settings_.marks_parts) {
        put_field("CONTAINER_PARTIAL_MESSAGE", "true");
    }
    labels_at_ = fields_size_;
    for (const char* const label : settings_.labels) {
        const base::Split split = base::split_once(label, '=');
        put_field(split.head, split.tail.value_or(""));
    }
    if (fields_size_ > fields_max) {
        return fail(E2BIG, "prepare journal fields");
    }
    return {};
}

// ------------------------------------------------------------------------------- lines to entries

void Journal::keep(Stream stream, Bytes bytes, Patience patience, Instant now) {
    Line& line = lines_[static_cast<size_t>(stream)];
    const MutableBytes held = storage_.held[static_cast<size_t>(stream)];
    for (;;) {
        pump(stream, Tail::hold_back, patience, now);
        if (bytes.empty()) {
            return;
        }
        const MutableBytes room = held.subspan(line.size);
        const size_t count = std::min(std::min(bytes.size(), room.size()), slice_max);
        CHECK(count != 0);
        std::memcpy(room.data(), bytes.data(), count);
        line.size += count;
        bytes = bytes.subspan(count);
    }
}

// Sends what is whole, cut as cut_records does it, as far as the journal takes it. The rest moves
// to the front.
void Journal::pump(Stream stream, Tail tail, Patience patience, Instant now) {
    Line& line = lines_[static_cast<size_t>(stream)];
    const MutableBytes held = storage_.held[static_cast<size_t>(stream)];
    size_t done = 0;
    while (done != line.size) {
        const Bytes rest = held.subspan(done, line.size - done);
        size_t size = base::find_newline(rest);
        Tag tag = Tag::full;
        if (size > record_max_) {
            size = record_max_;
            tag = Tag::partial;
        } else if (size == rest.size()) {
            if (tail == Tail::hold_back) {
                break;
            }
            tag = Tag::partial;
        }
        Bytes content = rest.first(size);
        char priority = line.priority;
        if (priority == 0 && has_priority(content)) {
            priority = static_cast<char>(content[1]);
            content = content.subspan(prefix_size);
        } else if (priority == 0) {
            priority = priority_of(stream);
        }
        if (!deliver(content, tag, priority, patience, now)) {
            break;
        }
        counters_.streams[static_cast<size_t>(stream)].records += settings_.counts_records ? 1 : 0;
        line.priority = tag == Tag::partial ? priority : char{0};
        done += size + (tag == Tag::full ? 1 : 0);
    }
    line.size -= done;
    if (done != 0 && line.size != 0) {
        std::memmove(held.data(), held.data() + done, line.size);
    }
}

// True when the entry is out of the way, sent or lost.
bool Journal::deliver(Bytes content, Tag tag, char priority, Patience patience, Instant now) {
    for (;;) {
        const Result<void> sent = send_entry(content, tag, priority);
        if (sent) {
            gave_up_waiting_ = false;
            if (std::exchange(in_trouble_, false)) {
                tell_loss(diag_, "The journal is written again", std::exchange(loss_, Loss{}));
            }
            break;
        }
        if (sent.error().code == ENOENT) {
            break; // no journal on this machine, or not at this moment
        }
        if (sent.error().code == EAGAIN && !gave_up_waiting_) {
            if (patience == Patience::later) {
                stalled_at_ = std::min(stalled_at_, now);
                return false;
            }
            if (last_wait_.wait(socket_)) {
                continue;
            }
        }
        loss_.add(content.size());
        counters_.lost_to_journal.add(content.size());
        give_up(sent.error());
        break;
    }
    stalled_at_ = sys::never;
    return true;
}

void Journal::give_up(const base::Error& error) {
    stalled_at_ = sys::never;
    gave_up_waiting_ = error.code == EAGAIN;
    if (!std::exchange(in_trouble_, true)) {
        diag_.warning("Failed to write to the journal, dropping records", error);
    }
}

void Journal::expire(Instant now) {
    if (deadline() <= now) {
        give_up({.code = EAGAIN, .call = "send datagram"});
    }
    for (const Stream stream : streams) {
        pump(stream, Tail::hold_back, Patience::later, now);
    }
}

void Journal::finish(Instant now) {
    for (const Stream stream : streams) {
        pump(stream, Tail::record, Patience::now, now);
    }
    if (loss_.any()) {
        tell_loss(diag_, "The journal is incomplete", loss_);
    }
    socket_.reset();
}

// ------------------------------------------------------------------------------------- datagrams

// EAGAIN: the journal is full. ENOENT: there is none.
Result<void> Journal::send_entry(Bytes content, Tag tag, char priority) {
    // The newline stands behind the content of a whole line.
    const std::string_view message{reinterpret_cast<const char*>(content.data()),
                                   content.size() + (tag == Tag::full ? 1 : 0)};
    const BinaryHead head{.length = message.size()};
    char* const fields = storage_.fields.data();
    fields[priority_at_] = priority;
    const size_t first_size = tag == Tag::partial ? labels_at_ : mark_at_;
    const std::array parts{part_of({head.name, sizeof head}),
                           part_of(message),
                           part_of({fields, first_size}),
                           part_of({fields + labels_at_, fields_size_ - labels_at_})};
    msghdr datagram{};
    datagram.msg_iov = const_cast<iovec*>(parts.data());
    datagram.msg_iovlen = parts.size();
    const Result<void> sent = send(datagram);
    if (!sent && (sent.error().code == EMSGSIZE || sent.error().code == ENOBUFS)) {
        return send_memfd(parts);
    }
    return sent;
}

Result<void> Journal::send_memfd(std::span<const iovec> parts) {
    const Fd memory{sys::memfd_create("journal-entry", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    size_t size = 0;
    for (const iovec& part : parts) {
        size += part.iov_len;
    }
    if (!memory.valid() ||
        sys::writev(memory.number(), parts.data(), static_cast<int>(parts.size())) !=
            static_cast<ssize_t>(size) ||
        sys::fcntl(memory.number(),
                   F_ADD_SEALS,
                   F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        return fail(ENOBUFS, "make file for journal");
    }
    const int number = memory.number();
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof number)> control{};
    msghdr datagram{};
    datagram.msg_control = control.data();
    datagram.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&datagram);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof number);
    std::memcpy(CMSG_DATA(header), &number, sizeof number);
    return send(datagram);
}

Result<void> Journal::send(const msghdr& message) {
    base::Text<128> path{"/run/systemd/journal"};
    if (settings_.name_space != nullptr) {
        path.put('.').put(settings_.name_space);
    }
    path.put("/socket");
    return sys::send_datagram(socket_, path.view(), message);
}

} // namespace record
