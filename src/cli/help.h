// What --help and --version print. Callers search the first for options by name and read the
// second to learn what we can do.
#pragma once

#include "base/text.h"
#include "cli/parse.h"

#include <string_view>

namespace cli {

// Either text fits in a sink of this size, unless the program's name is longer than a file name
// can be.
inline constexpr size_t help_size_max = 4096;

// The text of --help, laid out as GOption does it. `program` is Options::program.
void put_help(base::TextSink& sink, std::string_view program, Charset charset);

// The text of --version: a line with the version of conmon that we stand in for, which callers
// compare, and a line with our own.
void put_version(base::TextSink& sink);

} // namespace cli
