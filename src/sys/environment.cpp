#include "sys/environment.h"

#include "base/scan.h"

#include <unistd.h>

namespace sys {

const char* environment_value(std::string_view name) {
    for (char* const* variable = ::environ; variable != nullptr && *variable != nullptr;
         ++variable) {
        const base::Split split = base::split_once(*variable, '=');
        if (split.tail && split.head == name) {
            return split.tail->data();
        }
    }
    return nullptr;
}

} // namespace sys
