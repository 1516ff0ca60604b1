// Memory that we give back to the kernel. A monitor that waits for its container needs a dozen
// kilobytes of code and a few pages of data; what the start has touched beyond that goes here.
#pragma once

#include "base/bytes.h"

namespace sys {

// To be called once, when the container runs and the loop is about to wait:
//
//   - the pages of the stack below the caller's frame: what deeper calls have used;
//   - the pages of code and constants except the resident part (scripts/resident.ld), which are the
//     file's and come back from there when they are needed.
//
// A page fault would bring 15 neighbours along (fault_around_bytes); the code that is not resident
// gets a mapping of its own, so that the resident code does not draw it in.
void release_startup_memory();

// Gives back the whole pages of `bytes`, whose contents are lost.
void release_pages(base::MutableBytes bytes);

} // namespace sys
