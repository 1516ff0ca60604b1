// Lines of ctl and winsz: the numbers that strtoll reads are the numbers that we read, and any
// bytes in any pieces give the lines that a plain splitter gives.

#include "base/line_feed.h"
#include "monitor/control.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

using monitor::ControlLine;
using Kind = ControlLine::Kind;

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

// As many of the first `count` numbers as there are.
std::vector<long long> numbers_of(const std::string& line, size_t count) {
    std::vector<long long> numbers;
    const char* at = line.c_str();
    while (numbers.size() < count) {
        char* end = nullptr;
        const long long number = std::strtoll(at, &end, 10); // stops at the ends of its range
        if (end == at) {
            break;
        }
        numbers.push_back(number);
        at = end;
    }
    return numbers;
}

bool is_size(long long rows, long long columns) {
    return rows >= 0 && rows <= 1000 && columns >= 0 && columns <= 1000;
}

void check_size(const ControlLine& line, long long rows, long long columns) {
    must(line.size().rows == rows && line.size().columns == columns);
}

void check_line(const std::string& text) {
    const ControlLine control = monitor::parse_control(text);
    const std::vector<long long> three = numbers_of(text, 3);
    const bool known = three.size() == 3 && (three[0] == 1 || three[0] == 2);
    if (known && is_size(three[1], three[2])) {
        must(control.kind == (three[0] == 1 ? Kind::resize : Kind::reopen));
        check_size(control, three[1], three[2]);
    } else {
        must(control.kind != Kind::resize && control.kind != Kind::reopen);
    }
    const ControlLine window = monitor::parse_window_size(text);
    const std::vector<long long> two = numbers_of(text, 2);
    if (two.size() == 2 && is_size(two[0], two[1])) {
        must(window.kind == Kind::resize);
        check_size(window, two[0], two[1]);
    } else {
        must(window.kind != Kind::resize && window.kind != Kind::reopen);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const size_t step = data[0] + 1U;
    const std::string_view text{reinterpret_cast<const char*>(data + 1), size - 1};

    std::vector<std::string> lines;
    size_t too_long = 0;
    base::LineFeed<199> feed;
    for (size_t at = 0; at < text.size(); at += step) {
        feed.feed(
            text.substr(at, step),
            [&](std::string_view line) { lines.emplace_back(line); },
            [&] { ++too_long; });
    }
    size_t next = 0;
    for (std::string_view rest = text; !rest.empty();) {
        const size_t end = rest.find('\n');
        const std::string line{rest.substr(0, end)};
        if (line.size() > 199) {
            must(too_long-- != 0);
        } else if (end != std::string_view::npos) {
            must(next < lines.size() && lines[next++] == line);
        }
        check_line(line);
        if (end == std::string_view::npos) {
            break;
        }
        rest.remove_prefix(end + 1);
    }
    must(next == lines.size() && too_long == 0);
    return 0;
}
