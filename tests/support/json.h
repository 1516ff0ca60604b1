// A strict JSON reader (RFC 8259) for what the monitor and the stand-in programs write: it refuses
// control characters, bad escapes, invalid UTF-8, lone surrogates and anything after the value, so
// that a message it accepts is one that every caller accepts.

#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace support {

class Json {
  public:
    enum class Kind { null, boolean, number, string, array, object };

    // Throws std::runtime_error with the offset and the reason.
    static Json parse(std::string_view text);

    Kind kind() const { return kind_; }
    // Each of these throws when the value is of another kind.
    const std::string& text() const;
    long number() const;
    const std::vector<Json>& items() const;
    const std::map<std::string, Json>& members() const;
    bool has(const std::string& key) const { return members().contains(key); }
    const Json& operator[](const std::string& key) const;
    std::vector<std::string> texts() const;

  private:
    friend class JsonReader;

    Kind kind_ = Kind::null;
    std::string text_;
    std::vector<Json> items_;
    std::map<std::string, Json> members_;
};

} // namespace support
