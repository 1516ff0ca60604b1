// One table of numbers (no pointers, so no relocations) and the knobs that are texts.

#include "cli/knobs.h"

#include "base/scan.h"
#include "cli/number.h"

namespace cli {

namespace {

struct NumberKnob {
    char name[24];
    uint32_t Knobs::* member;
    uint32_t min;
    uint32_t max;
};

constexpr NumberKnob number_knobs[] = {
    {"MOTE_ATTACH_STALL_MS", &Knobs::attach_stall_ms, 0, 24 * 60 * 60 * 1000}, // milliseconds
    {"MOTE_LOG_RECORD_MAX", &Knobs::log_record_max, 256, 65'536},              // bytes
    {"MOTE_LOG_UTC", &Knobs::log_utc, 0, 1},                                   // 1: on
    {"MOTE_STATE", &Knobs::state, 0, 1},                                       // 1: on
};

constexpr uint32_t rate_max = 1'000'000'000;
constexpr char excess_words[][16] = {"wait", "drop", "drop-silently"}; // in the order of LogExcess

// "/run/systemd/journal.NAMESPACE/socket" has to fit in a socket address of 107 characters.
constexpr size_t namespace_size_max =
    107 - std::string_view{"/run/systemd/journal."}.size() - std::string_view{"/socket"}.size();

// A name is part of a path; anything printable in it that stays in its directory may be meant.
bool is_namespace(std::string_view name) {
    for (const char one : name) {
        if (one <= ' ' || one > '~' || one == '/') {
            return false;
        }
    }
    return name.size() <= namespace_size_max;
}

// Leaves `value` alone unless `text` is such a number, up to `end` if that occurs.
bool read_number(const char* text, char end, uint32_t min, uint32_t max, uint32_t& value) {
    int64_t number = 0;
    const bool is_good = parse_number(text, max, number, end) == Number::good && number >= min;
    value = is_good ? static_cast<uint32_t>(number) : value;
    return is_good;
}

bool take_number(const NumberKnob& knob, const char* value, Knobs& knobs, base::TextSink& warning) {
    uint32_t& number = knobs.*knob.member;
    number = Knobs{}.*knob.member;
    if (read_number(value, '\0', knob.min, knob.max, number)) {
        return true;
    }
    warning.put(knob.name).put(" must be a number from ").put_dec(uint64_t{knob.min});
    warning.put(" to ").put_dec(uint64_t{knob.max}).put(", using ").put_dec(uint64_t{number});
    return false;
}

// "BYTES_PER_SECOND[:BURST]", where a burst is a second's bytes unless it is given.
bool take_rate(const char* value, Knobs& knobs) {
    const base::Split split = base::split_once(value, ':');
    const char* const burst = split.tail ? split.tail->data() : value;
    uint32_t rate = 0;
    const bool is_good = read_number(value, ':', 0, rate_max, rate) &&
                         read_number(burst, '\0', split.tail ? 1 : 0, rate_max, knobs.log_burst);
    knobs.log_rate = is_good ? rate : 0;
    return is_good;
}

bool take_excess(std::string_view value, Knobs& knobs) {
    for (size_t i = 0; i < std::size(excess_words); ++i) {
        if (value == excess_words[i]) {
            knobs.log_excess = static_cast<LogExcess>(i);
            return true;
        }
    }
    knobs.log_excess = LogExcess::wait;
    return false;
}

bool take_namespace(const char* value, Knobs& knobs) {
    const bool is_good = is_namespace(value);
    knobs.journal_namespace = is_good && *value != '\0' ? value : nullptr;
    return is_good;
}

} // namespace

bool take_knob(const char* variable, Knobs& knobs, base::TextSink& warning) {
    const base::Split split = base::split_once(variable, '=');
    if (!split.tail) {
        return true;
    }
    for (const NumberKnob& knob : number_knobs) {
        if (split.head == knob.name) {
            return take_number(knob, split.tail->data(), knobs, warning);
        }
    }
    const char* const value = split.tail->data();
    bool is_good = true;
    std::string_view what;
    if (split.head == "MOTE_LOG_RATE") {
        is_good = take_rate(value, knobs);
        what = "BYTES_PER_SECOND[:BURST]";
    } else if (split.head == "MOTE_LOG_EXCESS") {
        is_good = take_excess(value, knobs);
        what = "wait, drop or drop-silently";
    } else if (split.head == "MOTE_JOURNAL_NAMESPACE") {
        is_good = take_namespace(value, knobs);
        what = "the name of a journal namespace";
    }
    if (!is_good) {
        warning.put(split.head).put(" is not ").put(what).put(", ignoring");
    }
    return is_good;
}

} // namespace cli
