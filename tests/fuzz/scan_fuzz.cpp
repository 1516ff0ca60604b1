// Numbers that others write: the runtime's pid file against atoi, the variables that name lent
// descriptors against strtol; and lines and splits against the text that they are put together to.

#include "base/scan.h"
#include "base/text.h"
#include "monitor/parent.h"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <fcntl.h>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

void check_pid(const std::string& text) {
    const auto pid = base::parse_pid(text);
    // atoi reads on after a sign, and has no answer for what does not fit.
    const size_t first = text.find_first_not_of(" \t\n\v\f\r");
    const bool has_sign = first != std::string::npos && (text[first] == '-' || text[first] == '+');
    errno = 0;
    const long value = std::strtol(text.c_str(), nullptr, 10);
    const bool is_pid = !has_sign && errno == 0 && value > 0 && value <= INT32_MAX;
    must(pid.has_value() == is_pid && (!pid || *pid == value));
}

void check_lent(const std::string& text) {
    ::setenv("FUZZ_LENT", text.c_str(), 1);
    sys::Fd fd;
    base::Text<256> why;
    const monitor::Lent lent = monitor::take_lent_fd("FUZZ_LENT", fd, why);
    const int number = fd.release();
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text.c_str(), &end, 10);
    const bool is_number = errno == 0 && *end == '\0' && (end != text.c_str() || text.empty()) &&
                           value >= INT32_MIN && value <= INT32_MAX;
    // A minus in front of a plus, and blanks alone, are left to strtol's own taste.
    if (lent == monitor::Lent::given) {
        must(is_number ? number == value : number == 0);
        must(::fcntl(number, F_GETFD) == FD_CLOEXEC);
    } else {
        must(lent == monitor::Lent::refused && why.size() != 0);
        must(!is_number || ::fcntl(static_cast<int>(value), F_GETFD) < 0);
    }
}

void check_lines(std::string_view text) {
    std::string together;
    std::string_view rest = text;
    while (const auto line = base::next_line(rest)) {
        must(!line->contains('\n'));
        together += std::string(*line) + "\n";
    }
    must(together == text || together == std::string(text) + "\n");
    const base::Split split = base::split_once(text, ':');
    must(!split.head.contains(':'));
    must(std::string(split.head) + (split.tail ? ":" + std::string(*split.tail) : "") == text);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    check_lines(bytes);
    const std::string text{bytes.substr(0, bytes.find('\0'))};
    check_pid(text);
    if (text.size() < 64) {
        check_lent(text);
    }
    return 0;
}
