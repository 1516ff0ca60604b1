// Text inside a JSON string, as the caller on the sync pipe reads it. Whatever bytes go in, what
// comes out is accepted by a strict parser.
#pragma once

#include "base/text.h"

#include <cstddef>
#include <string_view>

namespace base {

enum class Whole : bool { no, yes };

// Appends `text` up to its first NUL, escaped for the inside of a JSON string, without the quotes:
// \" \\ \/ \n \r \t \b \f by these names, other bytes below 0x20 and 0x7f as \u00xx with lower-case
// digits, UTF-8 as it is. A byte that is not part of valid UTF-8 becomes U+FFFD. What does not fit
// is left out, from the first whole character or escape on, so that `spare` characters of the
// sink's room are left free for what has to follow; then the answer is Whole::no.
// Spelling by conmon (contract: sync pipe grammar); RFC 8259 section 7, RFC 3629 section 4.
Whole put_json_escaped(TextSink& sink, std::string_view text, size_t spare = 0);

} // namespace base
