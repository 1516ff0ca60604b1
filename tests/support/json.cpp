// Recursive descent over RFC 8259's grammar.

#include "support/json.h"

#include <cstdint>
#include <stdexcept>

namespace support {

class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    Json document() {
        Json value = this->value();
        blanks();
        require(at_ == text_.size(), "something follows the value");
        return value;
    }

  private:
    void require(bool holds, const std::string& reason) const {
        if (!holds) {
            throw std::runtime_error("JSON, byte " + std::to_string(at_) + ": " + reason + ": " +
                                     std::string(text_.substr(0, 300)));
        }
    }
    char peek() const {
        require(at_ < text_.size(), "it ends early");
        return text_[at_];
    }
    char take() {
        const char c = peek();
        ++at_;
        return c;
    }
    void expect(char c) { require(take() == c, std::string("no ") + c); }
    void blanks() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_])) {
            ++at_;
        }
    }
    bool digit() const { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; }

    Json value() {
        blanks();
        Json out;
        switch (peek()) {
        case '{':
            object(out);
            break;
        case '[':
            array(out);
            break;
        case '"':
            out.kind_ = Json::Kind::string;
            out.text_ = string();
            break;
        case 't':
        case 'f':
        case 'n':
            word(out);
            break;
        default:
            number(out);
        }
        return out;
    }
    void object(Json& out) {
        out.kind_ = Json::Kind::object;
        expect('{');
        blanks();
        while (peek() != '}') {
            blanks();
            const std::string key = string();
            blanks();
            expect(':');
            require(!out.members_.contains(key), "a key stands twice");
            out.members_[key] = value();
            blanks();
            if (peek() != '}') {
                expect(',');
                blanks();
                require(peek() == '"', "a comma before the end");
            }
        }
        ++at_;
    }
    void array(Json& out) {
        out.kind_ = Json::Kind::array;
        expect('[');
        blanks();
        while (peek() != ']') {
            out.items_.push_back(value());
            blanks();
            if (peek() != ']') {
                expect(',');
                blanks();
                require(peek() != ']', "a comma before the end");
            }
        }
        ++at_;
    }
    void word(Json& out) {
        for (const std::string_view word : {"true", "false", "null"}) {
            if (text_.substr(at_).starts_with(word)) {
                at_ += word.size();
                out.kind_ = word == "null" ? Json::Kind::null : Json::Kind::boolean;
                out.text_ = word;
                return;
            }
        }
        require(false, "an unknown word");
    }
    void number(Json& out) {
        const size_t start = at_;
        if (peek() == '-') {
            ++at_;
        }
        require(digit(), "no value");
        if (text_[at_] == '0') {
            ++at_;
            require(!digit(), "a number begins with 0");
        }
        while (digit()) {
            ++at_;
        }
        out.kind_ = Json::Kind::number;
        out.text_ = text_.substr(start, at_ - start);
    }
    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = take();
            const bool lower = c >= 'a' && c <= 'f';
            const bool upper = c >= 'A' && c <= 'F';
            const bool decimal = c >= '0' && c <= '9';
            require(lower || upper || decimal, "a bad \\u escape");
            code = code * 16 +
                   static_cast<unsigned>(decimal ? c - '0' : (lower ? c - 'a' : c - 'A') + 10);
        }
        return code;
    }
    static void put_utf8(std::string& out, unsigned code) {
        const auto put = [&out](unsigned byte) { out += static_cast<char>(byte); };
        if (code < 0x80) {
            put(code);
        } else if (code < 0x800) {
            put(0xc0 | code >> 6);
            put(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            put(0xe0 | code >> 12);
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        } else {
            put(0xf0 | code >> 18);
            put(0x80 | (code >> 12 & 0x3f));
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        }
    }
    void escape(std::string& out) {
        const char c = take();
        switch (c) {
        case '"':
        case '\\':
        case '/':
            out += c;
            return;
        case 'b':
            out += '\b';
            return;
        case 'f':
            out += '\f';
            return;
        case 'n':
            out += '\n';
            return;
        case 'r':
            out += '\r';
            return;
        case 't':
            out += '\t';
            return;
        case 'u': {
            unsigned code = hex4();
            require(code < 0xdc00 || code > 0xdfff, "a lone low surrogate");
            if (code >= 0xd800 && code <= 0xdbff) {
                expect('\\');
                expect('u');
                const unsigned low = hex4();
                require(low >= 0xdc00 && low <= 0xdfff, "a lone high surrogate");
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
            put_utf8(out, code);
            return;
        }
        default:
            require(false, "an unknown escape");
        }
    }
    // One character of UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
    void utf8(std::string& out) {
        const auto lead = static_cast<uint8_t>(take());
        int more = 0;
        unsigned code = lead;
        unsigned least = 0;
        if (lead >= 0x80) {
            require(lead >= 0xc2 && lead <= 0xf4, "invalid UTF-8");
            more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
            code = lead & (more == 3 ? 0x07U : more == 2 ? 0x0fU : 0x1fU);
            least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
        }
        out += static_cast<char>(lead);
        for (int i = 0; i < more; ++i) {
            const auto next = static_cast<uint8_t>(take());
            require((next & 0xc0) == 0x80, "invalid UTF-8");
            code = code << 6 | (next & 0x3f);
            out += static_cast<char>(next);
        }
        require(code >= least && code <= 0x10ffff, "invalid UTF-8");
        require(code < 0xd800 || code > 0xdfff, "a surrogate in UTF-8");
    }
    std::string string() {
        expect('"');
        std::string out;
        while (peek() != '"') {
            require(static_cast<uint8_t>(peek()) >= 0x20, "a raw control character");
            if (peek() == '\\') {
                ++at_;
                escape(out);
            } else {
                utf8(out);
            }
        }
        ++at_;
        return out;
    }

    std::string_view text_;
    size_t at_ = 0;
};

namespace {

void require_kind(Json::Kind is, Json::Kind wanted) {
    if (is != wanted) {
        throw std::runtime_error("a JSON value of another kind than expected");
    }
}

} // namespace

Json Json::parse(std::string_view text) {
    return JsonReader(text).document();
}

const std::string& Json::text() const {
    require_kind(kind_, Kind::string);
    return text_;
}

long Json::number() const {
    require_kind(kind_, Kind::number);
    return std::stol(text_);
}

const std::vector<Json>& Json::items() const {
    require_kind(kind_, Kind::array);
    return items_;
}

const std::map<std::string, Json>& Json::members() const {
    require_kind(kind_, Kind::object);
    return members_;
}

const Json& Json::operator[](const std::string& key) const {
    const auto found = members().find(key);
    if (found == members().end()) {
        throw std::runtime_error("no JSON member " + key);
    }
    return found->second;
}

std::vector<std::string> Json::texts() const {
    std::vector<std::string> out;
    for (const auto& item : items()) {
        out.push_back(item.text());
    }
    return out;
}

} // namespace support
