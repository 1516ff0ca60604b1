// Files: small reads, atomic writes, fifos, links.
#pragma once

#include "base/text.h"
#include "sys/fd.h"

namespace sys {

// Reads at most `into.size()` bytes from the start of a file. A longer file is cut.
base::Result<base::Bytes> read_small(const char* path, base::MutableBytes into);

// Writes `content` to `<path>.XXXXXX` beside the target (mode 0666 less the umask, six characters
// of [A-Z0-9], as GLib does) and renames it over the target, so that readers see all or nothing. On
// an error no temporary file is left. Paths are limited by PATH_MAX.
base::Result<void> write_atomically(const char* path, std::string_view content);

// Puts six random characters of [A-Z0-9] at the end of `path`.
void put_random_suffix(base::TextSink& path);

// A fifo at `name`, replacing whatever file was there, opened for reading and writing without
// blocking: a fifo that we also hold open for writing never reports an end.
base::Result<Fd> make_fifo(FdRef directory, const char* name, mode_t mode);

// Removes a file; that it does not exist is not an error.
base::Result<void> remove(FdRef directory, const char* path);

// An empty file; that it exists already is not an error. A link in its place is not followed, and a
// fifo is not waited for: ELOOP, ENXIO.
base::Result<void> touch(FdRef directory, const char* path);

} // namespace sys
