#include "record/k8s_file.h"

#include "sys/calls.h"

#include <cerrno>

#include <limits.h>

namespace record {

using base::Bytes;
using base::fail;
using base::Result;
using base::Text;
using sys::Fd;
using sys::Instant;

namespace {

constexpr mode_t log_mode = 0640;
constexpr char newline[] = "\n";

} // namespace

Result<void> K8sFile::open() {
    // Without O_NONBLOCK the opening of a fifo waits for a reader, and a slow reader stops us.
    constexpr int flags = O_CREAT | O_APPEND | O_NONBLOCK;
    Result<Fd> file = sys::open_at(
        sys::working_directory(), settings_.path, O_WRONLY | flags, log_mode, "open log file");
    struct stat status{};
    if (file && sys::fstat(file->number(), &status) != 0) {
        return fail(errno, "open log file");
    }
    // ENXIO: a fifo that has no reader yet.
    paced_ = file ? S_ISFIFO(status.st_mode) : file.error().code == ENXIO;
    if (paced_) {
        // As a reader of our own fifo we survive every other reader.
        file = sys::open_at(
            sys::working_directory(), settings_.path, O_RDWR | flags, log_mode, "open log file");
    }
    if (!file) {
        return base::Failure{file.error()};
    }
    base_size_ = S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_size) : 0;
    total_ = base_size_;
    writer_.set_file(std::move(*file));
    return {};
}

void K8sFile::record(K8sHead::Bytes head, Bytes content) {
    const size_t length = head.size() + content.size() + 1;
    if (settings_.global_size_max > 0) {
        if (total_ >= static_cast<uint64_t>(settings_.global_size_max)) {
            return;
        }
        total_ += length;
    }
    if (settings_.size_max > 0 && size() + length > static_cast<uint64_t>(settings_.size_max) &&
        size() != 0) {
        reopen();
    }
    writer_.put(head, content, newline);
}

void K8sFile::flush(Instant now) {
    reopen_refused_ = false;
    writer_.flush();
    tell_trouble(now);
}

void K8sFile::reopen() {
    if (paced_ || reopen_refused_) {
        return;
    }
    writer_.flush();
    if (const auto replaced = replace_file(); !replaced) {
        reopen_refused_ = true;
        if (!std::exchange(cannot_reopen_, true)) {
            diag_.warning("Failed to reopen the log, keeping the old one", replaced.error());
        }
        return;
    }
    cannot_reopen_ = false;
    base_size_ = 0;
}

Result<void> K8sFile::replace_file() {
    Text<PATH_MAX> temporary;
    temporary.put(settings_.path).put(".tmp");
    if (temporary.overflowed()) {
        return fail(ENAMETOOLONG, "open log file");
    }
    // Append mode, so that a file that somebody truncates does not get a hole.
    Fd file = TRY(sys::open_at(sys::working_directory(),
                               temporary.c_str(),
                               O_WRONLY | O_TRUNC | O_CREAT | O_APPEND | O_NOFOLLOW,
                               log_mode,
                               "open log file"));
    if (sys::renameat(AT_FDCWD, temporary.c_str(), AT_FDCWD, settings_.path) != 0) {
        const int code = errno;
        (void)sys::unlink(temporary.c_str());
        return fail(code, "rename log file");
    }
    writer_.cut_torn_record();
    writer_.set_file(std::move(file));
    return {};
}

void K8sFile::tell_trouble(Instant now) {
    const auto refusal = writer_.refusal();
    if (!refusal) {
        retry_at_ = sys::never;
        if (std::exchange(in_trouble_, false)) {
            tell_loss();
        }
        return;
    }
    retry_at_ = now + retry_ms;
    if (!std::exchange(in_trouble_, true)) {
        diag_.warning("Failed to write the log, keeping what fits in memory", *refusal);
    }
}

void K8sFile::tell_loss() {
    const Loss loss = writer_.take_loss();
    sys::Message message;
    message.put("The log is written again, records lost: ").put_dec(loss.records);
    message.put(", bytes lost: ").put_dec(loss.bytes);
    diag_.warning(message.view());
}

void K8sFile::finish(Instant now) {
    if (!is_open()) {
        return;
    }
    flush(now);
    writer_.cut_torn_record();
    if (writer_.holds_bytes() || writer_.loss().any()) {
        sys::Message message;
        message.put("The log is incomplete, records lost: ").put_dec(writer_.loss().records);
        message.put(", bytes not written: ").put_dec(writer_.loss().bytes + writer_.held());
        diag_.warning(message.view());
    }
}

void K8sFile::sync() {
    if (is_open()) {
        (void)sys::fsync(writer_.file().number());
    }
}

} // namespace record
