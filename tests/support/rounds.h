// How much of a test there is: enough for CI, or what the list of regressions asks for, which takes
// minutes. A test that has both carries the tag [long].

#pragma once

#include <cstdlib>

namespace support {

// `at_length` in the suite long, which sets FLOW_LONG; `quick` otherwise.
inline int rounds(int quick, int at_length) {
    return std::getenv("FLOW_LONG") != nullptr ? at_length : quick;
}

} // namespace support
