// Integers as conmon's command line has them.
#pragma once

#include <cstdint>

namespace cli {

enum class Number : uint8_t { good, malformed, out_of_range };

// Reads an integer as strtol does with base 0, except that it must be all of `text`: blanks in
// front, a sign, 0x for hexadecimal, 0 for octal. The range is from -max - 1 to max. `value` is
// set only if the number is good. `end` ends the text too.
Number parse_number(const char* text, uint64_t max, int64_t& value, char end = '\0');

} // namespace cli
