// The rules between options (contract.md 1.2) and the syntax of --log-path (4.1), in conmon's
// order and with its words: what it reports first, we report first. The k8s-file log is opened in
// the middle of that order, hence two functions. Between and after them, main does:
//
//     parse -> check_before_log -> open drivers.k8s_file, if any -> check_after_log -> warnings
//
// The only system calls are access() and getcwd(); a refusal is for the caller to print.
#pragma once

#include "base/text.h"
#include "cli/options.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace cli {

enum class Checked : uint8_t {
    passed,
    refused_early, // print "conmon: ", `message` and '\n' on stderr; exit with 1
    refused,       // `message` is an error diagnostic ("[conmon:e]: ", and to syslog); exit with 1
};

// Room for the two paths that default to the working directory: each is one that open() takes.
using DefaultPaths = std::array<char, 2 * size_t{4096}>;

// Everything up to and including the log paths. Sets `detail` and `drivers` of `options`, and
// where they are absent `container_pidfile` and (except for exec) `bundle`; these two then point
// into `paths`, which must outlive `options` and is not touched otherwise. Once this has not
// answered refused_early, `detail` is set, so that diagnostics can be configured.
Checked check_before_log(Options& options, DefaultPaths& paths, base::TextSink& message);

// What conmon checks when it has opened the k8s-file log: tag, labels and ID against the drivers.
Checked check_after_log(const Options& options, base::TextSink& message);

// What was asked for and has no effect, to be given as warnings; empty texts where there is
// nothing to say. After check_before_log.
std::array<std::string_view, 2> warnings_about(const Options& options);

} // namespace cli
