// Any error number: its text is the C library's, or says the number.

#include "base/errno_text.h"
#include "fuzz/input.h"

#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input{data, size};
    while (!input.empty()) {
        const auto code = static_cast<int16_t>(input.number());
        base::Text<100> text;
        base::put_errno(text, code);
        const std::string said{text.view()};
        fuzz::must(said == std::strerror(code) || said.ends_with(' ' + std::to_string(code)));
    }
    return 0;
}
