// The text of a message to the parent: whatever the bytes, a strict parser reads what was meant,
// and a sink that is too small never gets half a character or half an escape.

#include "base/json.h"
#include "support/json_string.h"

#include <cstdlib>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

constexpr size_t capacity = 65'536;

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const size_t room = data[0] | static_cast<size_t>(data[1]) << 8;
    const std::string_view text{reinterpret_cast<const char*>(data + 2), size - 2};
    const std::u32string meaning = support::readable(text);

    static base::Text<capacity> sink;
    sink.clear();
    if (text.size() * 6 <= capacity) {
        must(base::put_json_escaped(sink, text) == base::Whole::yes && !sink.overflowed());
        must(support::read_json_string(sink.view()) == meaning);
    }

    sink.clear();
    const base::Whole whole = base::put_json_escaped(sink, text, capacity - room);
    const auto read = support::read_json_string(sink.view());
    must(sink.size() <= room && !sink.overflowed());
    must(read && *read == meaning.substr(0, read->size()));
    must((whole == base::Whole::yes) == (read->size() == meaning.size()));
    return 0;
}
