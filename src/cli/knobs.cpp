// One table of numbers (no pointers, so no relocations) and the one knob that is a text.

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
    {"MOTE_ATTACH_STALL_MS", &Knobs::attach_stall_ms, 0, 24 * 60 * 60 * 1000},
    {"MOTE_LOG_RECORD_MAX", &Knobs::log_record_max, 256, 65'536},
    {"MOTE_STATE", &Knobs::state, 0, 1},
};

constexpr std::string_view namespace_knob = "MOTE_JOURNAL_NAMESPACE";

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

bool take_number(const NumberKnob& knob, const char* value, Knobs& knobs, base::TextSink& warning) {
    int64_t number = 0;
    const bool is_good =
        parse_number(value, knob.max, number) == Number::good && number >= knob.min;
    knobs.*knob.member = is_good ? static_cast<uint32_t>(number) : Knobs{}.*knob.member;
    if (!is_good) {
        warning.put(knob.name)
            .put(" must be a number from ")
            .put_dec(int64_t{knob.min})
            .put(" to ");
        warning.put_dec(int64_t{knob.max}).put(", using ").put_dec(int64_t{knobs.*knob.member});
    }
    return is_good;
}

bool take_namespace(const char* value, Knobs& knobs, base::TextSink& warning) {
    const bool is_good = is_namespace(value);
    knobs.journal_namespace = is_good && *value != '\0' ? value : nullptr;
    if (!is_good) {
        warning.put(namespace_knob).put(" is not the name of a journal namespace, ignoring");
    }
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
    return split.head != namespace_knob || take_namespace(split.tail->data(), knobs, warning);
}

} // namespace cli
