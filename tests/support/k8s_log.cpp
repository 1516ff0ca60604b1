// Splits a k8s-file log into records.

#include "support/k8s_log.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace support {

namespace {

bool is_stamp(std::string_view text) {
    constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd.ddddddddds"
                                       "dd:dd";
    if (text.size() != shape.size()) {
        return false;
    }
    return std::ranges::equal(text, shape, [](char c, char wanted) {
        if (wanted == 'd') {
            return c >= '0' && c <= '9';
        }
        return wanted == 's' ? c == '+' || c == '-' : c == wanted;
    });
}

} // namespace

std::vector<Record> parse_k8s(std::string_view file) {
    std::vector<Record> records;
    for (size_t at = 0; at < file.size();) {
        const size_t end = file.find('\n', at);
        const std::string_view line = file.substr(at, end - at);
        const auto refuse = [&](const char* why) {
            throw std::runtime_error("log, byte " + std::to_string(at) + ", " + why + ": " +
                                     std::string(line.substr(0, 200)));
        };
        if (end == std::string_view::npos) {
            refuse("a record without its newline");
        }
        if (line.size() < 45 || !is_stamp(line.substr(0, 35)) || line[35] != ' ') {
            refuse("no stamp");
        }
        const std::string_view stream = line.substr(36, 6);
        if ((stream != "stdout" && stream != "stderr") || line[42] != ' ') {
            refuse("no stream");
        }
        if ((line[43] != 'F' && line[43] != 'P') || line[44] != ' ') {
            refuse("no tag");
        }
        records.push_back({.stamp = std::string(line.substr(0, 35)),
                           .stream = std::string(stream),
                           .tag = line[43],
                           .content = std::string(line.substr(45))});
        at = end + 1;
    }
    return records;
}

std::vector<std::string> briefs(std::string_view file) {
    std::vector<std::string> out;
    for (const auto& record : parse_k8s(file)) {
        out.push_back(record.brief());
    }
    return out;
}

std::string payload_of(const std::vector<Record>& records, std::string_view stream) {
    std::string bytes;
    for (const auto& record : records) {
        if (record.stream == stream) {
            bytes += record.content;
            if (record.tag == 'F') {
                bytes += '\n';
            }
        }
    }
    return bytes;
}

} // namespace support
