// Moving bytes. Would-block and end-of-file are values here, not errors.
#pragma once

#include "base/ring.h"
#include "sys/fd.h"

namespace sys {

struct Moved {
    enum class State : uint8_t { some, would_block, ended };

    size_t count; // bytes; 0 unless `some`
    State state;
};

// read(2): `ended` is end of file.
base::Result<Moved> read_some(FdRef from, base::MutableBytes into);

// writev(2) of both spans in order; `ended` does not occur.
base::Result<Moved> write_some(FdRef to, const base::Ring::ConstSpans& bytes);
base::Result<Moved> write_some(FdRef to, base::Bytes bytes);

// Sends one record of a SEQPACKET socket: `tag` and then `payload`, whole or not at all.
// `count` is the payload's size. Never raises SIGPIPE.
base::Result<Moved> send_record(FdRef to, std::byte tag, base::Bytes payload);

// Receives one record without blocking. What does not fit `into` is lost, as with conmon.
// `ended` is the peer's end of input: a shutdown, a close, or an empty record.
base::Result<Moved> receive_record(FdRef from, base::MutableBytes into);

// Whether there is a record to receive, or the end, without taking it; `count` means nothing.
base::Result<Moved> peek_record(FdRef from);

} // namespace sys
