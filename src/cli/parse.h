// The command line into Options, by the rules of GLib's GOption as contract.md 1.1 lists them,
// because callers lean on its corners (`--api-version 1`, `--flag=false`, words that stand astray).
// Pure: no system call, no state, no copy; every string of Options points into argv. What can go
// wrong is a refusal with conmon's words. main calls it once, before anything else.
//
//   --name value   --name=value   -n value   exact names only, no abbreviations
//   --flag   --flag=anything      both set the flag
//   -te   -ct x                   a bundle of letters; at most one of them takes the next word
//   --   -   word   ''            the end of options; words that are ignored
#pragma once

#include "base/text.h"
#include "cli/options.h"

#include <cstdint>
#include <span>

namespace cli {

// The encoding that arguments must have and that messages are written in.
enum class Charset : uint8_t { ascii, utf8 };

// The charset that these three environment variables select: the first of them that is neither
// absent (nullptr) nor empty decides. "UTF-8" or "utf8" after its '.', in any case, means utf8,
// anything else ascii. Unlike setlocale we do not ask whether the locale is installed (a static
// program has none), and charsets other than these two, which conmon would convert, count as ascii.
Charset charset_of(const char* lc_all, const char* lc_ctype, const char* lang);

enum class Parsed : uint8_t {
    options, // go on with check_before_log()
    help,    // print put_help() (help.h) on stdout and exit with 0
    version, // print put_version() on stdout and exit with 0
    refused, // print "conmon: option parsing failed: ", `message` and '\n' on stderr; exit with 1
};

// Reads `argv` (with the program's name in front) into `options`, which must be fresh and into
// which pointers to argv's strings are stored. `message` is written only for `refused`; what does
// not fit in it is cut off, since an argument of any length may be part of it.
Parsed
parse(std::span<char* const> argv, Charset charset, Options& options, base::TextSink& message);

} // namespace cli
