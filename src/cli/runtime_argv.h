// The arguments of the two programs that we run: the OCI runtime (contract.md 1.4, last part) and
// the exit command. Both are pointers to strings of argv, in storage of the caller's.
#pragma once

#include "cli/options.h"

#include <span>

namespace cli {

// Words of either argv at most, with the nullptr at its end: a restore with a terminal has
// seventeen beside the list values.
inline constexpr size_t argv_words_max = Options::list_values_max + 18;

// Writes the runtime's argv, nullptr at its end, into `words`. `console_socket` is the path of the
// terminal's socket, or nullptr without a terminal. Needs options that check_before_log() passed.
// False when `words` is too small; argv_words_max is enough for everything.
[[nodiscard]] bool
put_runtime_argv(const Options& options, const char* console_socket, std::span<const char*> words);

// Likewise for the exit command, which must have been given.
[[nodiscard]] bool put_exit_argv(const Options& options, std::span<const char*> words);

} // namespace cli
