// The texts of --help and --version, made from the table of options.

#include "cli/help.h"

#include "cli/table.h"

#include <algorithm>

namespace cli {

namespace {

// The column where descriptions start: GOption leaves nine beside the longest name, to which a
// letter in front adds four.
consteval size_t description_column() {
    size_t widest = 0;
    for (const Row& row : rows()) {
        if (!row.description.empty()) {
            widest = std::max(widest, row.name.size() + (row.letter != 0 ? 4 : 0));
        }
    }
    return widest + 9;
}

void put_option(base::TextSink& sink,
                char letter,
                std::string_view name,
                std::string_view description) {
    const size_t start = sink.size();
    sink.put("  ");
    if (letter != 0) {
        sink.put('-').put(letter).put(", ");
    }
    sink.put("--").put(name);
    for (size_t column = sink.size() - start; column < description_column(); ++column) {
        sink.put(' ');
    }
    sink.put(description).put('\n');
}

} // namespace

void put_help(base::TextSink& sink, std::string_view program, Charset charset) {
    sink.put("Usage:\n  ").put(program).put(" [OPTION");
    sink.put(charset == Charset::utf8 ? "\u2026" : "?").put("] - conmon utility\n");
    sink.put("\nHelp Options:\n");
    put_option(sink, 'h', "help", "Show help options");
    sink.put("\nApplication Options:\n");
    for (const Entry& entry : table.entries) {
        if (entry.description_size != 0) {
            put_option(sink, entry.letter, table.name_of(entry), table.description_of(entry));
        }
    }
    sink.put('\n');
}

void put_version(base::TextSink& sink) {
    sink.put("conmon version 2.2.1\ncommit: mote " MOTE_VERSION "\n");
}

} // namespace cli
