#include "base/utf8.h"
#include "cli/help.h"
#include "cli/parse.h"
#include "command_line.h"

#include <algorithm>
#include <climits>
#include <map>

#include <catch2/catch.hpp>

using cli::Charset;
using cli::ListOption;
using cli::Options;
using cli::Parsed;
using test::CommandLine;
using test::operator+;
using test::Words;

namespace {

const std::map<std::string, bool Options::*> flags = {
    {"--api-version", &Options::api_version},
    {"--exec", &Options::exec},
    {"-e", &Options::exec},
    {"--exec-attach", &Options::exec_attach},
    {"--full-attach", &Options::full_attach},
    {"--leave-stdin-open", &Options::leave_stdin_open},
    {"--log-rotate", &Options::log_rotate},
    {"--no-container-partial-message", &Options::no_container_partial_message},
    {"--no-new-keyring", &Options::no_new_keyring},
    {"--no-pivot", &Options::no_pivot},
    {"--no-sync-log", &Options::no_sync_log},
    {"--replace-listen-pid", &Options::replace_listen_pid},
    {"--stdin", &Options::stdin_pipe},
    {"-i", &Options::stdin_pipe},
    {"--sync", &Options::sync},
    {"--syslog", &Options::syslog},
    {"--systemd-cgroup", &Options::systemd_cgroup},
    {"-s", &Options::systemd_cgroup},
    {"--terminal", &Options::terminal},
    {"-t", &Options::terminal},
};

const std::map<std::string, const char * Options::*> texts = {
    {"--bundle", &Options::bundle},
    {"-b", &Options::bundle},
    {"--cid", &Options::cid},
    {"-c", &Options::cid},
    {"--conmon-pidfile", &Options::conmon_pidfile},
    {"-P", &Options::conmon_pidfile},
    {"--container-pidfile", &Options::container_pidfile},
    {"-p", &Options::container_pidfile},
    {"--pidfile", &Options::container_pidfile},
    {"--cuuid", &Options::cuuid},
    {"-u", &Options::cuuid},
    {"--exec-process-spec", &Options::exec_process_spec},
    {"--exit-command", &Options::exit_command},
    {"--exit-dir", &Options::exit_dir},
    {"--log-level", &Options::log_level_name},
    {"--log-tag", &Options::log_tag},
    {"--name", &Options::name},
    {"-n", &Options::name},
    {"--persist-dir", &Options::persist_dir},
    {"-0", &Options::persist_dir},
    {"--restore", &Options::restore},
    {"--runtime", &Options::runtime},
    {"-r", &Options::runtime},
    {"--sdnotify-socket", &Options::sdnotify_socket},
    {"--seccomp-notify-plugins", &Options::seccomp_notify_plugins},
    {"--seccomp-notify-socket", &Options::seccomp_notify_socket},
    {"--socket-dir-path", &Options::socket_dir_path},
};

const std::map<std::string, int32_t Options::*> numbers = {
    {"--exit-delay", &Options::exit_delay_s},
    {"--log-max-files", &Options::log_max_files},
    {"--timeout", &Options::timeout_s},
    {"-T", &Options::timeout_s},
};

const std::map<std::string, int64_t Options::*> sizes = {
    {"--log-size-max", &Options::log_size_max},
    {"--log-global-size-max", &Options::log_global_size_max},
};

const std::map<std::string, ListOption> lists = {
    {"--log-path", ListOption::log_path},
    {"-l", ListOption::log_path},
    {"--log-label", ListOption::log_label},
    {"--exit-command-arg", ListOption::exit_command_arg},
    {"--runtime-arg", ListOption::runtime_arg},
    {"--runtime-opt", ListOption::runtime_opt},
    {"--restore-arg", ListOption::runtime_opt},
    {"--log-allowlist-dir", ListOption::log_allowlist_dir},
};

// Every member but the lists, to see that one option sets one member.
std::vector<std::string> members_of(const Options& o) {
    std::vector<std::string> members;
    for (const auto& [name, member] : flags) {
        members.push_back(name + (o.*member ? "=yes" : "=no"));
    }
    for (const auto& [name, member] : texts) {
        members.push_back(name + "=" + (o.*member == nullptr ? "(none)" : o.*member));
    }
    for (const auto& [name, member] : numbers) {
        members.push_back(name + "=" + std::to_string(o.*member));
    }
    for (const auto& [name, member] : sizes) {
        members.push_back(name + "=" + std::to_string(o.*member));
    }
    return members;
}

// How many spellings there are of the option that `name` is one of.
template <typename Map> size_t spellings_of(const Map& map, const std::string& name) {
    size_t count = 0;
    for (const auto& [other, member] : map) {
        count += member == map.at(name) ? 1 : 0;
    }
    return count;
}

// How many spellings lead to members that differ from those of fresh options.
size_t changes(const Options& options) {
    const auto fresh = members_of(Options{});
    const auto now = members_of(options);
    size_t count = 0;
    for (size_t index = 0; index < now.size(); ++index) {
        count += now[index] != fresh[index] ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("every flag sets its member and no other, with and without a value") {
    for (const auto& [name, member] : flags) {
        Words spellings{name};
        if (name.starts_with("--")) {
            spellings = {name, name + "=", name + "=false", name + "=0"};
        }
        for (const std::string& spelling : spellings) {
            CAPTURE(spelling);
            CommandLine line{{spelling, "1"}};
            REQUIRE(line.parsed() == Parsed::options);
            REQUIRE(line.options().*member);
            REQUIRE(changes(line.options()) == spellings_of(flags, name));
        }
    }
}

TEST_CASE("every option with a text sets its member and no other, and the last one wins") {
    for (const auto& [name, member] : texts) {
        CAPTURE(name);
        CommandLine line{{name, "first", name, "-value"}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.options().*member == std::string{"-value"});
        REQUIRE(changes(line.options()) == spellings_of(texts, name));
        if (name.starts_with("--")) {
            CommandLine joined{{name + "=a=b"}};
            REQUIRE(joined.options().*member == std::string{"a=b"});
            CommandLine empty{{name + "="}};
            REQUIRE(empty.options().*member == std::string{});
        }
    }
}

TEST_CASE("every option with a number sets its member and no other") {
    for (const auto& [name, member] : numbers) {
        CAPTURE(name);
        CommandLine line{{name, "7", name, "-2147483648"}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.options().*member == INT32_MIN);
        REQUIRE(changes(line.options()) == spellings_of(numbers, name));
    }
    for (const auto& [name, member] : sizes) {
        CAPTURE(name);
        CommandLine line{{name + "=7", name, "9223372036854775807"}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.options().*member == INT64_MAX);
        REQUIRE(changes(line.options()) == spellings_of(sizes, name));
    }
}

TEST_CASE("values of list options are kept in order, those of two spellings in one list") {
    for (const auto& [name, option] : lists) {
        CAPTURE(name);
        CommandLine line{{name, "a", name, "", name, "--rm", name, "a"}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.values(option) == Words{"a", "", "--rm", "a"});
        REQUIRE(changes(line.options()) == 0);
    }
    CommandLine mixed{
        {"--runtime-opt", "1", "-l", "x", "--restore-arg=2", "--runtime-arg=y", "--runtime-opt=3"}};
    REQUIRE(mixed.values(ListOption::runtime_opt) == Words{"1", "2", "3"});
    REQUIRE(mixed.values(ListOption::runtime_arg) == Words{"y"});
    REQUIRE(mixed.values(ListOption::log_path) == Words{"x"});
}

TEST_CASE("without options, members have conmon's defaults") {
    CommandLine line{{}};
    const Options& options = line.options();
    REQUIRE(line.parsed() == Parsed::options);
    REQUIRE(options.exit_delay_s == 0);
    REQUIRE(options.timeout_s == 0);
    REQUIRE(options.log_max_files == 1);
    REQUIRE(options.log_size_max == -1);
    REQUIRE(options.log_global_size_max == -1);
    REQUIRE(options.socket_dir_path == std::string{"/var/run/crio"});
    REQUIRE(options.cid == nullptr);
    REQUIRE(options.list_count == 0);
    REQUIRE(changes(options) == 0);
}

TEST_CASE("integers are read with base 0, blanks and a sign in front of them") {
    const std::map<std::string, int64_t> good = {
        {"0", 0},
        {"00", 0},
        {"-0", 0},
        {"42", 42},
        {"+42", 42},
        {" \t\n\v\f\r-42", -42},
        {"010", 8},
        {"-010", -8},
        {"0x1f", 31},
        {"0X1F", 31},
        {"-0xFf", -255},
        {"2147483647", INT32_MAX},
        {"0x7fffffff", INT32_MAX},
        {"017777777777", INT32_MAX},
        {"-2147483648", INT32_MIN},
        {"-0x80000000", INT32_MIN},
    };
    for (const auto& [text, value] : good) {
        CAPTURE(text);
        CommandLine line{{"--timeout", text, "--log-size-max", text}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.options().timeout_s == value);
        REQUIRE(line.options().log_size_max == value);
    }
    const std::map<std::string, int64_t> wide = {
        {"2147483648", INT64_C(2147483648)},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"0777777777777777777777", INT64_MAX},
        {"-0x8000000000000000", INT64_MIN},
    };
    for (const auto& [text, value] : wide) {
        CAPTURE(text);
        CommandLine line{{"--log-size-max", text}};
        REQUIRE(line.options().log_size_max == value);
        CommandLine narrow{{"--timeout", text}};
        REQUIRE(narrow.parsed() == Parsed::refused);
        REQUIRE(narrow.message() == "Integer value “" + text + "” for --timeout out of range");
    }
}

TEST_CASE("a number that wraps around on the way is out of range all the same") {
    for (const std::string text :
         {"0x100000000000000005", "18446744073709551621", "04000000000000000000005"}) {
        CAPTURE(text);
        CommandLine line{{"--log-size-max", text}};
        REQUIRE(line.parsed() == Parsed::refused);
        REQUIRE(line.message() == "Integer value “" + text + "” for --log-size-max out of range");
    }
}

TEST_CASE("more list values than there is room for are refused, one less is not") {
    Words words;
    for (size_t count = 0; count < Options::list_values_max; ++count) {
        words.insert(words.end(), {"-l", std::to_string(count)});
    }
    CommandLine full{words};
    REQUIRE(full.parsed() == Parsed::options);
    REQUIRE(full.options().list_count == Options::list_values_max);
    REQUIRE(full.values(ListOption::log_path).back() == "4095");

    CommandLine over{words + Words{"--runtime-arg", "x"}};
    REQUIRE(over.parsed() == Parsed::refused);
    REQUIRE(over.message() == "Too many values of options that may be repeated, at --runtime-arg");
}

TEST_CASE("a message holds as much of a long word as fits") {
    CommandLine line{{"--" + std::string(100'000, 'x')}};
    REQUIRE(line.parsed() == Parsed::refused);
    REQUIRE(line.message() == "Unknown option --" + std::string(1024 - 17, 'x'));
}

TEST_CASE("the program's name is the base name of argv[0]") {
    const std::map<std::string, std::string> names = {
        {"conmon", "conmon"}, {"/usr/bin/conmon", "conmon"}, {"./a/b", "b"}, {"", ""}};
    for (const auto& [path, name] : names) {
        std::string word = path;
        char* argv[] = {word.data()};
        auto options = std::make_unique<Options>();
        base::Text<64> message;
        REQUIRE(cli::parse(argv, Charset::utf8, *options, message) == Parsed::options);
        REQUIRE(options->program == name);
    }
    auto options = std::make_unique<Options>();
    base::Text<64> message;
    REQUIRE(cli::parse({}, Charset::utf8, *options, message) == Parsed::options);
    REQUIRE(options->program == std::string{"conmon"});
}

TEST_CASE("the first locale variable that is not empty decides the charset") {
    struct {
        const char* lc_all;
        const char* lc_ctype;
        const char* lang;
        Charset charset;
    } const cases[] = {
        {nullptr, nullptr, nullptr, Charset::ascii},
        {"", "", "", Charset::ascii},
        {"en_US.UTF-8", nullptr, nullptr, Charset::utf8},
        {"C.UTF-8", "C", "C", Charset::utf8},
        {"C", "en_US.UTF-8", "en_US.UTF-8", Charset::ascii},
        {"", "en_US.utf8", "C", Charset::utf8},
        {nullptr, "POSIX", "en_US.UTF-8", Charset::ascii},
        {nullptr, nullptr, "de_DE.Utf-8@euro", Charset::utf8},
        {"", "", "C.UTF8", Charset::utf8},
        {nullptr, nullptr, "en_US", Charset::ascii},
        {nullptr, nullptr, "en_US.", Charset::ascii},
        {nullptr, nullptr, "UTF-8", Charset::ascii},
        {nullptr, nullptr, "de_DE@UTF-8", Charset::ascii},
        {nullptr, nullptr, "de_DE.ISO-8859-1", Charset::ascii},
        {nullptr, nullptr, "en_US.UTF-16", Charset::ascii},
        {nullptr, nullptr, "en_US.UTF-8x", Charset::ascii},
        {nullptr, nullptr, ".", Charset::ascii},
    };
    for (const auto& each : cases) {
        CAPTURE(each.lc_all, each.lc_ctype, each.lang);
        REQUIRE(cli::charset_of(each.lc_all, each.lc_ctype, each.lang) == each.charset);
    }
}

TEST_CASE("text is what the charset has, in every option with a text") {
    for (const std::string valid :
         {"ü", "€", "😀", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "a\x7f\x01"}) {
        CAPTURE(valid);
        CommandLine line{{"-c", "x" + valid + "y"}};
        REQUIRE(line.parsed() == Parsed::options);
        REQUIRE(line.options().cid == "x" + valid + "y");
    }
    Words words;
    for (const auto& [name, member] : texts) {
        words.push_back(name);
    }
    for (const auto& [name, option] : lists) {
        words.push_back(name);
    }
    for (const std::string& name : words) {
        for (const char* bad : {"\xff", "\xc3", "a\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
            CAPTURE(name, bad);
            CommandLine line{{name, bad}};
            REQUIRE(line.parsed() == Parsed::refused);
            REQUIRE(line.message() == "Invalid byte sequence in conversion input");
        }
        CAPTURE(name);
        CommandLine ascii{{name, "ü"}, Charset::ascii};
        REQUIRE(ascii.parsed() == Parsed::refused);
        REQUIRE(ascii.message() == "Invalid byte sequence in conversion input");
        CommandLine utf8{{name, "ü"}};
        REQUIRE(utf8.parsed() == Parsed::options);
    }
}

TEST_CASE("utf8_size tells characters from all else, against an encoder and a lax decoder") {
    const auto encode = [](uint32_t code) {
        std::string out;
        if (code < 0x80) {
            return std::string{static_cast<char>(code)};
        }
        if (code < 0x800) {
            out += static_cast<char>(0xc0 | (code >> 6));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xe0 | (code >> 12));
            out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
        } else {
            out += static_cast<char>(0xf0 | (code >> 18));
            out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
            out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
        }
        out += static_cast<char>(0x80 | (code & 0x3f));
        return out;
    };
    bool right = true;
    for (uint32_t code = 0; code < 0x110000; ++code) {
        const bool is_surrogate = code >= 0xd800 && code < 0xe000;
        const std::string text = encode(code);
        right = right && base::utf8_size(text) == (is_surrogate ? 0 : text.size());
        right = right && base::utf8_size(text + "x") == (is_surrogate ? 0 : text.size());
        right = right && (text.size() == 1 || base::utf8_size({text.data(), text.size() - 1}) == 0);
    }
    REQUIRE(right);
    REQUIRE(base::utf8_size("") == 0);

    // Four bytes from every interesting class, decoded without checks and encoded again: only a
    // character comes back as it was.
    const std::vector<int> bytes = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                    0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                    0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff};
    for (const int first : bytes) {
        for (const int second : bytes) {
            for (const int third : bytes) {
                for (const int fourth : bytes) {
                    const uint32_t b[] = {
                        uint32_t(first), uint32_t(second), uint32_t(third), uint32_t(fourth)};
                    const size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
                    uint32_t code = size == 1 ? b[0] : b[0] & (0xffu >> (size + 1));
                    for (size_t at = 1; at < size; ++at) {
                        code = code << 6 | (b[at] & 0x3f);
                    }
                    std::string text;
                    for (const uint32_t byte : b) {
                        text += static_cast<char>(byte);
                    }
                    const bool is_character = code < 0x110000 &&
                                              !(code >= 0xd800 && code < 0xe000) &&
                                              encode(code) == text.substr(0, size);
                    right = right && base::utf8_size(text) == (is_character ? size : 0);
                }
            }
        }
    }
    REQUIRE(right);
}

TEST_CASE("help names the options that callers search it for, in both charsets") {
    for (const Charset charset : {Charset::utf8, Charset::ascii}) {
        base::Text<cli::help_size_max> help;
        cli::put_help(help, std::string(255, 'c'), charset);
        REQUIRE_FALSE(help.overflowed());
        help.clear();
        cli::put_help(help, "conmon", charset);
        const std::string text{help.view()};
        const std::string usage = charset == Charset::utf8 ? "[OPTION…]" : "[OPTION?]";
        REQUIRE(
            text.starts_with("Usage:\n  conmon " + usage + " - conmon utility\n\nHelp Options:\n"));
        for (const char* wanted :
             {"\nApplication Options:\n", "--exec ", "--log-global-size-max ", "journald"}) {
            CAPTURE(wanted);
            REQUIRE(text.find(wanted) != std::string::npos);
        }
        for (const char* hidden : {"--pidfile", "--restore-arg", "seccomp"}) {
            CAPTURE(hidden);
            REQUIRE(text.find(hidden) == std::string::npos);
        }
        if (charset == Charset::ascii) {
            REQUIRE(std::all_of(text.begin(), text.end(), [](char one) { return one > 0; }));
        }
    }
}

TEST_CASE("the version is conmon's for programs and ours for people") {
    base::Text<cli::help_size_max> version;
    cli::put_version(version);
    REQUIRE(version.view() == "conmon version 2.2.1\ncommit: mote " MOTE_VERSION "\n");
}
