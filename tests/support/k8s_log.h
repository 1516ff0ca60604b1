// A strict reader of the k8s-file format: `STAMP STREAM TAG CONTENT\n`, where STAMP is
// `YYYY-MM-DDThh:mm:ss.nnnnnnnnn+hh:mm`. Anything else, a half record above all, throws.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace support {

struct Record {
    std::string stamp;
    std::string stream;
    char tag = 0;
    std::string content;

    friend bool operator==(const Record&, const Record&) = default;
    // "stdout F text"
    std::string brief() const { return stream + " " + tag + " " + content; }
};

// All records; throws std::runtime_error with the offset of what is wrong.
std::vector<Record> parse_k8s(std::string_view file);
// The records without their stamps.
std::vector<std::string> briefs(std::string_view file);
// The bytes that the container wrote to one stream, put together again.
std::string payload_of(const std::vector<Record>& records, std::string_view stream = "stdout");

} // namespace support
