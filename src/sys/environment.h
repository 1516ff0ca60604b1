// The environment of this process.
#pragma once

#include <string_view>

namespace sys {

// The value of a variable, of the first one if it occurs twice; nullptr: there is none. It lives as
// long as the process. (The C library's getenv is four times as large.)
const char* environment_value(std::string_view name);

} // namespace sys
