#include "record/journal.h"

#include "base/text.h"
#include "sys/calls.h"
#include "sys/socket.h"

#include <algorithm>
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

using Length = std::array<char, 8>;

Length little_endian(uint64_t number) {
    Length bytes;
    for (char& byte : bytes) {
        byte = static_cast<char>(number);
        number >>= 8;
    }
    return bytes;
}

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
    put(name);
    if (value.contains('\n')) {
        const Length length = little_endian(value.size());
        put("\n");
        put({length.data(), length.size()});
    } else {
        put("=");
    }
    put(value);
    put("\n");
}

Result<void> Journal::open() {
    const std::string_view id{settings_.id};
    const std::string_view short_id{id.data(), std::min(id.size(), short_id_size)};
    std::string_view identifier = short_id;

    put("\n"); // ends the message
    put_field("CONTAINER_ID_FULL", id);
    put("PRIORITY=");
    priority_at_ = fields_size_;
    put("6\n");
    put_field("CONTAINER_ID", short_id);
    if (settings_.name != nullptr) {
        identifier = settings_.name;
    }
    if (settings_.tag != nullptr) {
        identifier = settings_.tag;
        put_field("CONTAINER_TAG", settings_.tag);
    }
    if (settings_.name != nullptr) {
        put_field("CONTAINER_NAME", settings_.name);
    }
    put_field("SYSLOG_IDENTIFIER", identifier);
    mark_at_ = fields_size_;
    if (settings_.marks_parts) {
        put_field("CONTAINER_PARTIAL_MESSAGE", "true");
    }
    labels_at_ = fields_size_;
    for (const char* const label : settings_.labels) {
        const std::string_view text{label};
        const size_t name_size = std::min(text.find('='), text.size());
        put_field(text.substr(0, name_size), text.substr(std::min(name_size + 1, text.size())));
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
    if (is_waiting()) {
        (void)pump(stream, Tail::hold_back, patience, now);
    }
    while (!bytes.empty()) {
        const size_t count = std::min({bytes.size(), held.size() - line.size, slice_max});
        CHECK(count != 0);
        std::memcpy(held.data() + line.size, bytes.data(), count);
        line.size += count;
        bytes = bytes.subspan(count);
        if (!is_waiting() || patience == Patience::now) {
            (void)pump(stream, Tail::hold_back, patience, now);
        }
    }
}

// Sends what is whole, in order, as far as the journal takes it. The rest moves to the front.
bool Journal::pump(Stream stream, Tail tail, Patience patience, Instant now) {
    Line& line = lines_[static_cast<size_t>(stream)];
    const MutableBytes held = storage_.held[static_cast<size_t>(stream)];
    size_t done = 0;
    bool is_full = false;
    cut_records(held.first(line.size), record_max_, tail, [&](Bytes content, Tag tag) {
        if (is_full) {
            return;
        }
        Bytes text = content;
        char priority = line.priority;
        if (priority == 0 && has_priority(content)) {
            priority = static_cast<char>(content[1]);
            text = content.subspan(prefix_size);
        } else if (priority == 0) {
            priority = priority_of(stream);
        }
        if (!deliver(text, tag, priority, patience, now)) {
            is_full = true;
            return;
        }
        line.priority = tag == Tag::partial ? priority : char{0};
        done += content.size() + (tag == Tag::full ? 1 : 0);
    });
    line.size -= done;
    if (done != 0 && line.size != 0) {
        std::memmove(held.data(), held.data() + done, line.size);
    }
    return !is_full;
}

// True when the entry is out of the way, sent or lost.
bool Journal::deliver(Bytes content, Tag tag, char priority, Patience patience, Instant now) {
    int code = send_entry(content, tag, priority);
    while (code == EAGAIN && !in_trouble_) {
        if (patience == Patience::later) {
            stalled_at_ = std::min(stalled_at_, now);
            return false;
        }
        if (!wait_briefly()) {
            break;
        }
        code = send_entry(content, tag, priority);
    }
    stalled_at_ = sys::never;
    if (code == ENOENT) {
        return true; // no journal on this machine, or not at this moment
    }
    if (code != 0) {
        ++loss_.records;
        loss_.bytes += content.size();
        give_up(code);
    } else if (std::exchange(in_trouble_, false)) {
        tell_loss(diag_, "The journal is written again", std::exchange(loss_, Loss{}));
    }
    return true;
}

void Journal::give_up(int code) {
    stalled_at_ = sys::never;
    if (!std::exchange(in_trouble_, true)) {
        diag_.warning("Failed to write to the journal, dropping records",
                      {.code = code, .call = "send"});
    }
}

// For the journal to take something. False when it has had its time.
bool Journal::wait_briefly() {
    const Instant now = sys::monotonic_ms();
    if (end_at_ == sys::never) {
        end_at_ = now + end_max_ms;
    }
    const Instant most = std::min(end_stall_max_ms, end_at_ - now);
    pollfd waiting{.fd = socket_.number(), .events = POLLOUT, .revents = 0};
    return most > 0 && sys::poll(&waiting, 1, static_cast<int>(most)) > 0;
}

void Journal::expire(Instant now) {
    for (const bool is_last : {false, true}) {
        for (const Stream stream : streams) {
            if (is_waiting() && !pump(stream, Tail::hold_back, Patience::later, now)) {
                break;
            }
        }
        if (is_last || deadline() > now) {
            return;
        }
        give_up(EAGAIN);
    }
}

void Journal::finish(Instant now) {
    for (const Stream stream : streams) {
        (void)pump(stream, Tail::record, Patience::now, now);
    }
    if (loss_.any()) {
        tell_loss(diag_, "The journal is incomplete", loss_);
    }
    socket_.reset();
}

// ------------------------------------------------------------------------------------- datagrams

// 0, or why it was not sent: EAGAIN, the journal is full; ENOENT, there is none.
int Journal::send_entry(Bytes content, Tag tag, char priority) {
    // The newline stands behind the content of a whole line.
    const std::string_view message{reinterpret_cast<const char*>(content.data()),
                                   content.size() + (tag == Tag::full ? 1 : 0)};
    const Length length = little_endian(message.size());
    const std::string_view fields{storage_.fields.data(), fields_size_};
    storage_.fields[priority_at_] = priority;
    const size_t first_size = tag == Tag::partial ? labels_at_ : mark_at_;
    const std::array parts{part_of("MESSAGE\n"),
                           part_of({length.data(), length.size()}),
                           part_of(message),
                           part_of(fields.substr(0, first_size)),
                           part_of(fields.substr(labels_at_))};
    msghdr datagram{};
    datagram.msg_iov = const_cast<iovec*>(parts.data());
    datagram.msg_iovlen = parts.size();
    const int code = send(datagram);
    return code == EMSGSIZE || code == ENOBUFS ? send_memfd(parts) : code;
}

int Journal::send_memfd(std::span<const iovec> parts) {
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
        return ENOBUFS;
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

int Journal::send(const msghdr& message) {
    int code = 0;
    // A restarted journal makes the old connection useless: try again once with a new one.
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (!socket_.valid()) {
            base::Text<128> path{"/run/systemd/journal"};
            if (settings_.name_space != nullptr) {
                path.put('.').put(settings_.name_space);
            }
            path.put("/socket");
            Result<Fd> socket = sys::make_socket(sys::SocketKind::datagram);
            if (!socket) {
                return socket.error().code;
            }
            if (const auto connected = sys::connect_path(*socket, path.view()); !connected) {
                return connected.error().code;
            }
            socket_ = std::move(*socket);
        }
        if (sys::sendmsg(socket_.number(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return 0;
        }
        code = errno;
        if (code == EAGAIN || code == EMSGSIZE || code == ENOBUFS) {
            break;
        }
        socket_.reset();
    }
    return code;
}

} // namespace record
