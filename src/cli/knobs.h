// What mote can do beyond conmon is set through environment variables, since the command line is
// conmon's and callers pass the environment on (Podman's conmon_env_vars, CRI-O's conmon_env):
//
//     MOTE_ATTACH_STALL_MS    drop an attached client that takes nothing for so long; 0: never
//     MOTE_LOG_RECORD_MAX     bytes of a line that one log record holds
//     MOTE_STATE              1: leave an account, monitor.json, at the end of the container
//     MOTE_JOURNAL_NAMESPACE  the systemd journal namespace that journald records go to
//
// A bad value is a warning and the default.
#pragma once

#include "base/text.h"

#include <cstdint>

namespace cli {

enum class LogExcess : uint8_t { wait, drop, drop_silently };

struct Knobs {
    uint32_t attach_stall_ms = 0; // up to a day
    uint32_t log_record_max = 16'384;
    uint32_t log_rate = 0;
    uint32_t log_burst = 0; // as much as `log_rate` if it is not given
    uint32_t log_utc = 0;   // or 1
    uint32_t state = 0;     // or 1
    LogExcess log_excess = LogExcess::wait;
    const char* journal_namespace = nullptr; // in the environment; nullptr: the default journal
};

// Takes one string of the environment, "NAME=VALUE", which lives as long as `knobs`. What is not
// the name of a knob is not for us: callers run us with all sorts of variables. False when the
// value was bad: then `warning` says so, and the knob has its default. When a variable occurs
// twice, the last one counts.
[[nodiscard]] bool take_knob(const char* variable, Knobs& knobs, base::TextSink& warning);

} // namespace cli
