// A log that somebody has left, however it ends: what was whole stays, at most the beginning of one
// record without content is cut off, and the record that comes is a line of its own.

#include "record/k8s_file.h"

#include <cstdint>
#include <cstdlib>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

std::string contents(int file) {
    std::string text(static_cast<size_t>(::lseek(file, 0, SEEK_END)), '\0');
    must(::pread(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    return text;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const int file = ::memfd_create("log", MFD_CLOEXEC);
    static const std::string path = "/proc/self/fd/" + std::to_string(file);
    must(::ftruncate(file, 0) == 0 && ::pwrite(file, data, size, 0) == static_cast<ssize_t>(size));
    const std::string old = contents(file);

    std::array<std::byte, 4096> ring;
    record::Counters counters{};
    sys::Diag diag;
    record::K8sFile log({.name = {.path = path.c_str()}}, ring, counters, diag);
    must(log.open().has_value());
    record::K8sHead head("2026-01-31T23:59:59.123456789+05:30", record::Stream::standard_output);
    const std::string record = "2026-01-31T23:59:59.123456789+05:30 stdout F new\n";
    log.record(head, record::Tag::full, base::bytes_of("new"));
    log.flush(0);

    const std::string now = contents(file);
    must(now.ends_with(record));
    const std::string before = now.substr(0, now.size() - record.size());
    must(before.empty() || before.back() == '\n');
    if (before != old && before != old + "\n") {
        // Cut: what has gone is the last line, and no longer than what a record begins with.
        must(old.starts_with(before) && old.size() - before.size() <= record::K8sHead::size);
        must(old.find('\n', before.size()) == std::string::npos);
    }
    return 0;
}
