#include "record/k8s_file.h"

#include "sys/calls.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace record {

using base::Bytes;
using base::fail;
using base::Result;
using sys::Fd;
using sys::Instant;

namespace {

constexpr mode_t log_mode = 0640;
constexpr base::Step open_step = "open log file";

// Whether `text` is what a record begins with, as far as it goes: then nothing of a container's
// output is in it.
bool begins_record(std::string_view text) {
    constexpr std::string_view form = "0000-00-00T00:00:00.000000000+00:00 stdxxx X ";
    static_assert(form.size() == K8sHead::size);
    for (size_t i = 0; i < text.size(); ++i) {
        const char one = text[i];
        const bool fits = form[i] == '0'   ? one >= '0' && one <= '9'
                          : form[i] == '+' ? one == '+' || one == '-'
                          : form[i] == 'x' ? one >= 'a' && one <= 'z'
                          : form[i] == 'X' ? one == 'F' || one == 'P'
                                           : one == form[i];
        if (!fits) {
            return false;
        }
    }
    return true;
}

uint64_t room_up_to(int64_t limit, uint64_t size) {
    const auto most = static_cast<uint64_t>(limit);
    return most > size ? most - size : 0;
}

} // namespace

Result<Fd> K8sFile::open_file(int flags) const {
    // Without O_NONBLOCK the opening of a fifo waits for a reader, and a slow reader stops us.
    flags |= O_CREAT | O_APPEND | O_NONBLOCK;
    if (settings_.name.allowed_directories.empty()) {
        return sys::open_at(
            sys::working_directory(), settings_.name.path, flags, log_mode, open_step);
    }
    const Fd directory = TRY(open_directory(settings_.name));
    return sys::open_at(
        directory, base_name(settings_.name.path), flags | O_NOFOLLOW, log_mode, open_step);
}

Result<void> K8sFile::open() {
    Result<Fd> file = open_file(O_WRONLY);
    struct stat status{};
    if (file && sys::fstat(file->number(), &status) != 0) {
        return fail(errno, open_step);
    }
    is_regular_ = S_ISREG(status.st_mode);
    paced_ = !is_regular_;
    // ENXIO: a fifo that has no reader yet.
    if (file ? S_ISFIFO(status.st_mode) : file.error().code == ENXIO) {
        // As a reader of our own fifo we survive every other reader.
        file = open_file(O_RDWR);
    }
    if (!file) {
        if (file.error().code == EPERM) {
            diag_.warning("Cannot use the log's place", file.error());
        }
        return base::Failure{file.error()};
    }
    base_size_ = is_regular_ ? static_cast<uint64_t>(status.st_size) : 0;
    writer_.set_file(std::move(*file), is_regular_ ? std::optional{base_size_} : std::nullopt);
    if (base_size_ != 0) {
        mend_end();
    }
    total_ = size();
    return {};
}

void K8sFile::mend_end() {
    std::array<char, K8sHead::size> bytes;
    const Result<Fd> file = open_file(O_RDONLY); // the one that we write cannot be read
    const auto count = static_cast<size_t>(std::min<uint64_t>(bytes.size(), base_size_));
    if (!file ||
        sys::pread(file->number(), bytes.data(), count, static_cast<off_t>(base_size_ - count)) !=
            static_cast<ssize_t>(count)) {
        return;
    }
    const std::string_view end{bytes.data(), count};
    const size_t newline_at = end.rfind('\n');
    if (newline_at == count - 1) {
        return;
    }
    // Without a newline among these bytes there is content, or this is all that there is.
    const bool is_whole_line = newline_at != std::string_view::npos || count == base_size_;
    const size_t torn = newline_at == std::string_view::npos ? count : count - newline_at - 1;
    if (is_whole_line && begins_record({end.data() + count - torn, torn}) &&
        sys::ftruncate(writer_.file().number(), static_cast<off_t>(base_size_ - torn)) == 0) {
        base_size_ -= torn;
        writer_.set_size(base_size_);
        return;
    }
    (void)writer_.put({}, {}); // a newline
    writer_.flush();
}

void K8sFile::record(const K8sHead& head, Tag tag, Bytes content) {
    const size_t length = K8sHead::size + content.size() + 1;
    if (settings_.global_size_max > 0 &&
        total_ >= static_cast<uint64_t>(settings_.global_size_max)) {
        counters_.lost_to_limit.add(content.size());
        return;
    }
    if (is_regular_ && settings_.size_max > 0 &&
        size() + length > static_cast<uint64_t>(settings_.size_max) && size() != 0 &&
        !reopen_refused_) {
        writer_.flush();
        // A disk that takes nothing would push all backups out, each by an empty one.
        reopen_refused_ = base_size_ + writer_.written() == 0 || !reopen();
    }
    if (writer_.put(head.with(tag), content)) {
        total_ += length;
    } else {
        counters_.lost_to_disk.add(content.size());
    }
}

base::MutableBytes K8sFile::room() {
    const base::MutableBytes all = writer_.fillable();
    uint64_t most = all.size();
    if (is_regular_ && settings_.size_max > 0) {
        most = std::min(most, room_up_to(settings_.size_max, size()));
    }
    if (settings_.global_size_max > 0) {
        most = std::min(most, room_up_to(settings_.global_size_max, total_));
    }
    return all.first(static_cast<size_t>(most));
}

void K8sFile::filled(size_t count) {
    writer_.filled(count);
    total_ += count;
}

void K8sFile::flush(Instant now) {
    reopen_refused_ = false;
    writer_.flush();
    const bool took_page = writer_.end_turn();
    if (!waits_for_reader()) {
        stalled_at_ = sys::never;
    } else if (took_page || stalled_at_ == sys::never) {
        stalled_at_ = now;
    } else if (stalled_at_ + stall_max_ms <= now) {
        stalled_at_ = sys::never;
        writer_.give_up();
    }
    tell_trouble(now);
}

bool K8sFile::reopen() {
    if (!is_regular_) {
        return true;
    }
    rare_ = true;
    writer_.flush();
    Result<Fd> file = rotate(settings_.name, settings_.backups, writer_.file());
    if (!file) {
        ++counters_.reopen_failures;
        if (!std::exchange(cannot_reopen_, true)) {
            diag_.warning("Failed to reopen the log, keeping the old one", file.error());
        }
        return false;
    }
    ++counters_.rotations;
    cannot_reopen_ = false;
    writer_.cut_torn_record();
    writer_.set_file(std::move(*file), 0);
    base_size_ = 0;
    return true;
}

void K8sFile::tell_trouble(Instant now) {
    const auto& refusal = writer_.refusal();
    if (!refusal) {
        retry_at_ = sys::never;
        if (std::exchange(in_trouble_, false)) {
            rare_ = true;
            tell_loss(diag_, "The log is written again", writer_.take_loss());
        }
        return;
    }
    retry_at_ = now + retry_ms;
    if (!std::exchange(in_trouble_, true)) {
        rare_ = true;
        diag_.warning("Failed to write the log, keeping what fits in memory", *refusal);
    }
}

void K8sFile::finish(Instant now) {
    if (!is_open()) {
        return;
    }
    flush(now);
    writer_.cut_torn_record();
    if (writer_.holds_bytes() || writer_.loss().any()) {
        Loss loss = writer_.take_loss();
        const Loss unwritten = writer_.unwritten(K8sHead::size);
        counters_.lost_to_disk += unwritten;
        loss += unwritten;
        tell_loss(diag_, "The log is incomplete", loss);
    }
}

void K8sFile::sync() {
    if (is_open()) {
        (void)sys::fsync(writer_.file().number());
    }
}

} // namespace record
