// The parser: one pass over the words, one function for each form that an option can have.

#include "cli/parse.h"

#include "base/scan.h"
#include "base/utf8.h"
#include "cli/number.h"
#include "cli/table.h"

#include <algorithm>

namespace cli {

namespace {

const Entry* find_name(std::string_view name) {
    for (const Entry& entry : table.entries) {
        if (table.name_of(entry) == name) {
            return &entry;
        }
    }
    return nullptr;
}

const Entry* find_letter(char letter) {
    for (const Entry& entry : table.entries) {
        if (entry.letter == letter) {
            return &entry;
        }
    }
    return nullptr;
}

bool is_text_of(Charset charset, std::string_view value) {
    const size_t size_max = charset == Charset::utf8 ? 4 : 1;
    while (!value.empty()) {
        const size_t size = base::utf8_size(value);
        if (size == 0 || size > size_max) {
            return false;
        }
        value.remove_prefix(size);
    }
    return true;
}

enum class Form : uint8_t { name, letter };

// An option in the form in which the user gave it: messages repeat that.
struct Given {
    const Entry* entry;
    Form form;
};

// One pass over argv. Functions that return Parsed return `options` when parsing goes on.
class Parser {
  public:
    Parser(std::span<char* const> words, Charset charset, Options& options, base::TextSink& message)
        : words_{words}, charset_{charset}, options_{options}, message_{message} {}

    Parsed run() {
        while (next_ < words_.size()) {
            const char* word = words_[next_++];
            if (word[0] != '-') {
                continue; // a word that is no option means nothing
            }
            if (word[1] == '-' && word[2] == '\0') {
                break;
            }
            const Parsed parsed = word[1] == '-' ? take_long(word) : take_letters(word);
            if (parsed != Parsed::options) {
                return parsed;
            }
        }
        return options_.version ? Parsed::version : Parsed::options;
    }

  private:
    Parsed take_long(const char* word) {
        const base::Split split = base::split_once(word + 2, '=');
        if (!split.tail && (split.head == "help" || split.head == "help-all")) {
            return Parsed::help;
        }
        const Entry* entry = find_name(split.head);
        if (entry == nullptr) {
            return refuse_unknown(word);
        }
        return take({entry, Form::name}, split.tail ? split.tail->data() : nullptr);
    }

    // A word such as -te. An option in it takes its value from the next word, never from the rest
    // of this one, so that only one of them can.
    Parsed take_letters(const char* word) {
        const size_t next_word = next_;
        for (const char* letter = word + 1; *letter != '\0'; ++letter) {
            if (*letter == '?' || *letter == 'h') {
                return Parsed::help;
            }
            const Entry* entry = find_letter(*letter);
            if (entry == nullptr) {
                return refuse_unknown(word);
            }
            const Given given{entry, Form::letter};
            if (entry->place.kind != Kind::flag && next_ != next_word) {
                return refuse("Error parsing option ", given);
            }
            const Parsed parsed = take(given, nullptr);
            if (parsed != Parsed::options) {
                return parsed;
            }
        }
        return Parsed::options;
    }

    // `value` is what stands behind '=', or nullptr: then all but flags take the next word.
    Parsed take(Given given, const char* value) {
        const Place& place = given.entry->place;
        if (place.kind == Kind::flag) {
            options_.*place.flag = true;
            return Parsed::options;
        }
        if (value == nullptr) {
            if (next_ == words_.size()) {
                return refuse("Missing argument for ", given);
            }
            value = words_[next_++];
        }
        if (place.kind == Kind::number || place.kind == Kind::size) {
            return take_number(given, value);
        }
        if (!is_text_of(charset_, value)) {
            message_.put("Invalid byte sequence in conversion input");
            return Parsed::refused;
        }
        if (place.kind == Kind::text) {
            options_.*place.text = value;
            return Parsed::options;
        }
        if (options_.list_count == Options::list_values_max) {
            return refuse("Too many values of options that may be repeated, at ", given);
        }
        options_.list[options_.list_count++] = {place.list, value};
        return Parsed::options;
    }

    Parsed take_number(Given given, const char* value) {
        const Place& place = given.entry->place;
        const bool is_narrow = place.kind == Kind::number;
        int64_t number = 0;
        const Number parsed = parse_number(value, is_narrow ? INT32_MAX : INT64_MAX, number);
        if (parsed == Number::good) {
            if (is_narrow) {
                options_.*place.number = static_cast<int32_t>(number);
            } else {
                options_.*place.size = number;
            }
            return Parsed::options;
        }
        const bool is_malformed = parsed == Number::malformed;
        message_.put(is_malformed ? "Cannot parse integer value " : "Integer value ");
        put_quote("\u201c");
        put_word(value);
        put_quote("\u201d");
        refuse(" for ", given);
        message_.put(is_malformed ? "" : " out of range");
        return Parsed::refused;
    }

    // Appends `reason` and the option as it was given.
    Parsed refuse(std::string_view reason, Given given) {
        message_.put(reason).put('-');
        if (given.form == Form::letter) {
            message_.put(given.entry->letter);
        } else {
            message_.put('-').put(table.name_of(*given.entry));
        }
        return Parsed::refused;
    }

    Parsed refuse_unknown(const char* word) {
        message_.put("Unknown option ");
        put_word(word);
        return Parsed::refused;
    }

    void put_quote(std::string_view quote) {
        message_.put(charset_ == Charset::utf8 ? quote : "?");
    }

    // A word of the user's in the charset of messages: in ASCII any other character is a '?', and
    // a byte that belongs to none is written as \xNN. A UTF-8 locale gets the bytes as they are.
    void put_word(std::string_view word) {
        if (charset_ == Charset::utf8) {
            message_.put(word);
            return;
        }
        constexpr std::string_view digits = "0123456789abcdef";
        while (!word.empty()) {
            const auto first = static_cast<uint8_t>(word[0]);
            const size_t size = base::utf8_size(word);
            if (size == 0) {
                message_.put("\\x").put(digits[first >> 4]).put(digits[first & 0xf]);
            } else {
                message_.put(size == 1 ? word[0] : '?');
            }
            word.remove_prefix(std::max<size_t>(size, 1));
        }
    }

    std::span<char* const> words_;
    Charset charset_;
    Options& options_;
    base::TextSink& message_;
    size_t next_ = 1; // the word after the one that is being read
};

} // namespace

Charset charset_of(const char* lc_all, const char* lc_ctype, const char* lang) {
    for (const char* locale : {lc_all, lc_ctype, lang}) {
        if (locale == nullptr || *locale == '\0') {
            continue;
        }
        const auto behind_dot = base::split_once(locale, '.').tail;
        const std::string_view codeset = base::split_once(behind_dot.value_or(""), '@').head;
        const bool is_utf8 = base::equals_ignoring_case(codeset, "utf-8") ||
                             base::equals_ignoring_case(codeset, "utf8");
        return is_utf8 ? Charset::utf8 : Charset::ascii;
    }
    return Charset::ascii;
}

Parsed
parse(std::span<char* const> argv, Charset charset, Options& options, base::TextSink& message) {
    if (!argv.empty()) {
        options.program = argv[0];
        for (const char* at = argv[0]; *at != '\0'; ++at) {
            if (*at == '/') {
                options.program = at + 1;
            }
        }
    }
    return Parser{argv, charset, options, message}.run();
}

} // namespace cli
