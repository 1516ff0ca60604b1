// The text of an error number, in the words that glibc uses: conmon's messages carry them, and
// musl's strerror words several of them differently.
#pragma once

#include "base/text.h"

namespace base {

// Appends the text of `code`, or "Unknown error N" for a number that we do not name.
void put_errno(TextSink& sink, int code);

} // namespace base
