// Notes and judges; see the header.

#include "shadow/faults.h"

#include <cstdlib>
#include <utility>

namespace shadow {

namespace {

Faults* in_force = nullptr;

} // namespace

Faults::Faults(Judge judge) : judge_(std::move(judge)) {
    if (std::exchange(in_force, this) != nullptr) {
        std::abort(); // two sets of faults at once
    }
}

Faults::Faults(std::string_view name, int nth, int error)
    : Faults([=](const Call& call) {
          return call == Call{name, nth} ? Instead{.error = error} : Instead{};
      }) {}

Faults::~Faults() {
    in_force = nullptr;
}

int Faults::count(std::string_view name) const {
    for (size_t at = 0; at < names_; ++at) {
        if (last_[at].name == name) {
            return last_[at].nth;
        }
    }
    return 0;
}

Instead ask(std::string_view name) {
    if (in_force == nullptr) {
        return {};
    }
    Faults& faults = *in_force;
    size_t at = 0;
    while (at < faults.names_ && faults.last_[at].name != name) {
        ++at;
    }
    if (at == faults.names_) {
        if (at == Faults::names_max) {
            std::abort(); // more names than system calls
        }
        faults.last_[faults.names_++] = {.name = name};
    }
    Call& call = faults.last_[at];
    ++call.nth;
    if (faults.count_ < Faults::calls_max) {
        faults.calls_[faults.count_++] = call;
    }
    if (!faults.judge_) {
        return {};
    }
    const Instead instead = faults.judge_(call);
    if (instead.error != 0 || instead.at_most != SIZE_MAX) {
        faults.fired_ = true;
    }
    return instead;
}

} // namespace shadow
