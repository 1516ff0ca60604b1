// Any command line: it is refused with a message, or every string of the options is a string of
// argv, every rule that later parts lean on holds, and the runtime's argv is whole.
//
// The first byte of the input is a set of switches, the rest are the words, each ended by a NUL.
// Each word has a block of memory of its own, so that one step beyond it is seen.

#include "cli/check.h"
#include "cli/knobs.h"
#include "cli/parse.h"
#include "cli/runtime_argv.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

class Words {
  public:
    Words(std::string_view program, std::string_view input) {
        add(program);
        while (!input.empty()) {
            const size_t end = std::min(input.find('\0'), input.size());
            add(input.substr(0, end));
            input.remove_prefix(std::min(end + 1, input.size()));
        }
    }

    [[nodiscard]] std::span<char* const> argv() const { return argv_; }

    // The number of the word that `text` points into; must be one.
    [[nodiscard]] size_t word_of(const char* text) const {
        for (size_t number = 0; number < argv_.size(); ++number) {
            if (std::less_equal<>{}(argv_[number], text) &&
                std::less_equal<>{}(text, argv_[number] + std::strlen(argv_[number]))) {
                return number;
            }
        }
        std::abort();
    }

  private:
    void add(std::string_view word) {
        blocks_.push_back(std::make_unique<char[]>(word.size() + 1));
        std::copy(word.begin(), word.end(), blocks_.back().get());
        argv_.push_back(blocks_.back().get());
    }

    std::vector<std::unique_ptr<char[]>> blocks_;
    std::vector<char*> argv_;
};

void look_at_strings(const Words& words, const cli::Options& options) {
    const cli::Options fresh{};
    for (const auto member : {&cli::Options::bundle,
                              &cli::Options::cid,
                              &cli::Options::conmon_pidfile,
                              &cli::Options::container_pidfile,
                              &cli::Options::cuuid,
                              &cli::Options::exec_process_spec,
                              &cli::Options::exit_command,
                              &cli::Options::exit_dir,
                              &cli::Options::log_level_name,
                              &cli::Options::log_tag,
                              &cli::Options::name,
                              &cli::Options::persist_dir,
                              &cli::Options::program,
                              &cli::Options::restore,
                              &cli::Options::runtime,
                              &cli::Options::sdnotify_socket,
                              &cli::Options::seccomp_notify_plugins,
                              &cli::Options::seccomp_notify_socket,
                              &cli::Options::socket_dir_path}) {
        if (options.*member != fresh.*member) {
            (void)words.word_of(options.*member);
        }
    }
    must(options.list_count <= cli::Options::list_values_max);
    size_t last = 0;
    for (const cli::ListValue& each : options.values()) {
        const size_t word = words.word_of(each.value);
        must(word > last);
        last = word;
    }
}

void look_at_argv(const cli::Options& options, const char* console_socket) {
    static const char* argv[cli::argv_words_max];
    must(cli::put_runtime_argv(options, console_socket, argv));
    size_t size = 0;
    while (argv[size] != nullptr) {
        ++size;
    }
    must(argv[0] == options.runtime && argv[size - 1] == options.cid);
    must(!cli::put_runtime_argv(options, console_socket, {argv, size}));
    must(cli::put_runtime_argv(options, console_socket, {argv, size + 1}));
    if (options.exit_command != nullptr) {
        must(cli::put_exit_argv(options, argv) && argv[0] == options.exit_command);
    }
}

void look_at_checks(const Words& words, cli::Options& options, const char* console_socket) {
    static cli::DefaultPaths paths;
    base::Text<200> message;
    const cli::Checked before = cli::check_before_log(options, paths, message);
    must((before == cli::Checked::passed) == (message.size() == 0));
    if (before != cli::Checked::passed) {
        return;
    }
    must(options.cid != nullptr && options.runtime != nullptr);
    must(options.container_pidfile != nullptr);
    must(options.exec ? options.exec_process_spec != nullptr : options.bundle != nullptr);
    must(!options.exec_attach || (options.exec && options.api_version));
    must(options.exit_delay_s >= 0 && options.log_max_files >= 0);
    const char* log = options.drivers.k8s_file;
    must(log == nullptr || (*log != '\0' && words.word_of(log) != 0));
    for (const std::string_view warning : cli::warnings_about(options)) {
        must(warning.size() < 200);
    }
    const cli::Checked after = cli::check_after_log(options, message);
    must(after != cli::Checked::refused_early);
    must((after == cli::Checked::passed) == (message.size() == 0));
    look_at_argv(options, console_socket);
}

void look_at_knobs(const Words& words) {
    cli::Knobs knobs;
    for (const char* word : words.argv()) {
        base::Text<200> warning;
        must(cli::take_knob(word, knobs, warning) == (warning.size() == 0));
        must(knobs.attach_stall_ms <= 86'400'000);
        must(knobs.log_record_max >= 256 && knobs.log_record_max <= 65'536);
        must(knobs.journal_namespace == nullptr ||
             std::strchr(knobs.journal_namespace, '/') == nullptr);
    }
}

// The charset is that of the first variable that is set.
void look_at_charset(const Words& words) {
    const char* const last = words.argv().back();
    const bool is_utf8 = cli::charset_of(nullptr, "", last) == cli::Charset::utf8;
    must(is_utf8 == (cli::charset_of(last, "C", "de_DE.UTF-8") == cli::Charset::utf8) ||
         *last == '\0');
    must(!is_utf8 || std::string_view{last}.contains('.'));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const auto charset = (data[0] & 1) != 0 ? cli::Charset::utf8 : cli::Charset::ascii;
    const std::string_view program = (data[0] & 4) != 0 ? "/usr/bin/conmon" : "conmon";
    const Words words{program, {reinterpret_cast<const char*>(data + 1), size - 1}};
    look_at_knobs(words);
    look_at_charset(words);

    auto options = std::make_unique<cli::Options>();
    base::Text<200> message;
    const cli::Parsed parsed = cli::parse(words.argv(), charset, *options, message);
    must((parsed == cli::Parsed::refused) == (message.size() != 0));
    if (charset == cli::Charset::ascii) {
        must(std::ranges::all_of(message.view(), [](char one) { return one > 0; }));
    }
    must(parsed != cli::Parsed::version || options->version);
    look_at_strings(words, *options);
    if (parsed == cli::Parsed::options) {
        look_at_checks(words, *options, (data[0] & 2) != 0 ? "/socket" : nullptr);
    }
    return 0;
}
