// Command lines given to a real conmon and to us: exit status, output, messages and the files that
// were made must be the same. The reference is Debian's conmon 2.1.6, or the program that
// MOTE_REFERENCE names. Where the two differ, the table says why, and the difference is checked
// too: a reason that is no longer true is a failure.
//
//     side_by_side "[library]"    the parser and the checks, called from here
//     side_by_side "[product]"    the program that MOTE_CONMON names
//
// A command line that both accept must not start anything: the start pipe's variable is unreadable,
// which is the first thing that is looked at after the checks. Skipped without a reference.
#define CATCH_CONFIG_RUNNER
#include "base/errno_text.h"
#include "cli/help.h"
#include "cli/runtime_argv.h"
#include "command_line.h"
#include "support/files.h"
#include "support/process.h"

#include <algorithm>
#include <cerrno>
#include <compare>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using cli::Charset;
using cli::Checked;
using cli::Parsed;
using test::CommandLine;
using test::complete;
using test::InDirectory;
using test::operator+;
using test::Words;

namespace {

struct Version {
    int major = 0;
    int minor = 0;
    int patch = 0;
    auto operator<=>(const Version&) const = default;
};

std::string reference_path() {
    const char* path = std::getenv("MOTE_REFERENCE");
    return path != nullptr ? path : "/usr/bin/conmon";
}

// What a command line led to.
struct Answer {
    int status = -1;
    std::string out;
    std::string err;
    Words files; // in the directory where it ran, which was empty

    bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& stream, const Answer& answer) {
    stream << "status " << answer.status << ", stdout \"" << answer.out << "\", stderr \""
           << answer.err << "\", files";
    for (const std::string& file : answer.files) {
        stream << ' ' << file;
    }
    return stream;
}

// Where command lines run: empty, and with a name that is the same for all of them.
class Place {
  public:
    Place() { std::filesystem::create_directory(path()); }
    [[nodiscard]] std::string path() const { return home_ / "place"; }
    [[nodiscard]] Words files() const { return support::names_in(path()); }

  private:
    support::TempDir home_;
};

std::string read_all(int fd, const support::Deadline& deadline) {
    std::string bytes;
    char block[4096];
    while (support::wait_readable(fd, deadline)) {
        const ssize_t count = ::read(fd, block, sizeof block);
        if (count <= 0) {
            return bytes;
        }
        bytes.append(block, static_cast<size_t>(count));
    }
    throw support::TimedOut{"no end of output"};
}

// Runs a program with these words in an empty directory, with the environment that is given.
Answer run(const std::string& program, const Words& words, const Words& environment) {
    const Place place;
    int out[2];
    int err[2];
    if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) {
        throw support::Broken{"pipe"};
    }
    const support::Handle out_read{out[0]};
    const support::Handle err_read{err[0]};
    support::Handle out_write{out[1]};
    support::Handle err_write{err[1]};
    support::Launch launch;
    launch.argv = Words{program} + words;
    launch.env = environment;
    launch.fds = {{1, out[1]}, {2, err[1]}};
    launch.cwd = place.path();
    support::Process process = support::launch(launch);
    out_write.reset();
    err_write.reset();
    const support::Deadline deadline{support::soon};
    Answer answer;
    try {
        // What is said here is far less than a pipe holds, so one after the other will do.
        answer.out = read_all(out_read.get(), deadline);
        answer.err = read_all(err_read.get(), deadline);
        answer.status = process.wait(deadline).code;
    } catch (...) {
        process.kill(SIGKILL);
        throw;
    }
    answer.files = place.files();
    return answer;
}

Version version_of(const std::string& program) {
    const Answer answer = run(program, {"--version"}, {});
    Version version;
    if (std::sscanf(answer.out.c_str(),
                    "conmon version %d.%d.%d",
                    &version.major,
                    &version.minor,
                    &version.patch) != 3) {
        throw support::Broken{"no version from " + program};
    }
    return version;
}

const Version& reference() {
    static const Version version = version_of(reference_path());
    return version;
}

Words environment_of(const std::string& lc_all) {
    return {"PATH=/usr/bin:/bin", "LC_ALL=" + lc_all, "_OCI_STARTPIPE=x"};
}

// The options that a help text shows, in order, as far as both sides have them: descriptions and
// columns are our own.
std::string options_shown(const std::string& help) {
    std::istringstream lines{help};
    std::string shown;
    for (std::string line; std::getline(lines, line);) {
        const size_t gap = line.find("  ", 2);
        const std::string option = line.starts_with("  -") ? line.substr(0, gap) : line;
        const bool is_gone = option.find("--seccomp-") != std::string::npos;
        const bool is_new = option.find("--log-rotate") != std::string::npos ||
                            option.find("--log-max-files") != std::string::npos ||
                            option.find("--log-label") != std::string::npos ||
                            option.find("--log-allowlist-dir") != std::string::npos ||
                            option.find("--no-container-partial-message") != std::string::npos;
        if (!is_gone && (!is_new || reference() >= Version{2, 2, 0})) {
            shown += option + "\n";
        }
    }
    return shown;
}

// Takes out what may differ in every answer: the wording of --help, the numbers of --version, and
// the end of the message that stands for "accepted".
Answer comparable(Answer answer) {
    if (answer.out.starts_with("Usage:")) {
        answer.out = options_shown(answer.out);
    }
    if (answer.out.starts_with("conmon version ")) {
        const size_t second = answer.out.find('\n') + 1;
        const bool is_good = answer.out.compare(second, 8, "commit: ") == 0 &&
                             answer.out.find('\n', second) == answer.out.size() - 1;
        answer.out = is_good ? "a version" : "a bad version: " + answer.out;
    }
    std::istringstream lines{answer.err};
    answer.err.clear();
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("[conmon:d]: ") || line.empty()) {
            continue; // how the score for the OOM killer fares is another subject
        }
        if (line.starts_with("[conmon:e]: unable to parse _OCI_STARTPIPE")) {
            line = "accepted";
        }
        answer.err += line + "\n";
    }
    return answer;
}

// The reference's answer, where an old one is told apart from 2.2.1 only by where and how it
// speaks: parse errors were on stdout before 2.1.8, and some prefixes lacked their colon before
// 2.2.0.
Answer reference_answer(const Words& words, const std::string& lc_all) {
    Answer answer = run(reference_path(), words, environment_of(lc_all));
    if (reference() < Version{2, 1, 8} && answer.status == 1 && answer.err.empty()) {
        std::swap(answer.out, answer.err);
    }
    if (reference() < Version{2, 2, 0} && answer.err.starts_with("[conmon:e] ")) {
        answer.err.insert(std::string{"[conmon:e]"}.size(), ":");
    }
    return comparable(answer);
}

// Opens the log in the middle of the checks, as the program does. Nothing: it could not be opened.
std::optional<std::string> open_log(const char* path) {
    const support::Handle log{::open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640)};
    if (log.is_open()) {
        return std::nullopt;
    }
    base::Text<128> text{"Failed to open log file "};
    base::put_errno(text, errno);
    return std::string{text.view()};
}

// What the library says, printed as check.h and parse.h say that it has to be.
Answer library_answer_here(CommandLine& line, Charset charset) {
    Answer answer{.status = 1, .out = {}, .err = {}, .files = {}};
    base::Text<cli::help_size_max> text;
    switch (line.parsed()) {
    case Parsed::help:
        cli::put_help(text, line.options().program, charset);
        return {.status = 0, .out = std::string{text.view()}, .err = {}, .files = {}};
    case Parsed::version:
        cli::put_version(text);
        return {.status = 0, .out = std::string{text.view()}, .err = {}, .files = {}};
    case Parsed::refused:
        answer.err = "conmon: option parsing failed: " + line.message() + "\n";
        return answer;
    case Parsed::options:
        break;
    }
    Checked checked = line.check_before_log();
    if (checked == Checked::refused_early) {
        answer.err = "conmon: " + line.message() + "\n";
        return answer;
    }
    std::string refusal = line.message();
    if (checked == Checked::passed && line.options().drivers.k8s_file != nullptr) {
        const auto failure = open_log(line.options().drivers.k8s_file);
        checked = failure ? Checked::refused : Checked::passed;
        refusal = failure.value_or("");
    }
    if (checked == Checked::passed) {
        checked = line.check_after_log();
        refusal = line.message();
    }
    if (checked != Checked::passed) {
        answer.err = "[conmon:e]: " + refusal + "\n";
        return answer;
    }
    for (const std::string_view warning : cli::warnings_about(line.options())) {
        if (!warning.empty() && line.options().detail >= cli::DetailLevel::warning) {
            answer.err += "[conmon:w]: " + std::string{warning} + "\n";
        }
    }
    answer.err += "accepted\n";
    return answer;
}

Answer library_answer(const Words& words, const std::string& lc_all) {
    const Charset charset = cli::charset_of(lc_all.c_str(), nullptr, nullptr);
    CommandLine line{words, charset};
    const Place place;
    const InDirectory there{place.path()};
    Answer answer = library_answer_here(line, charset);
    answer.files = place.files();
    return comparable(answer);
}

Answer product_answer(const Words& words, const std::string& lc_all) {
    return comparable(run(std::getenv("MOTE_CONMON"), words, environment_of(lc_all)));
}

using Answerer = Answer (*)(const Words&, const std::string&);

struct Case {
    Words words;
    std::string lc_all = "C.UTF-8";
};

void check_same(Answerer ours, const std::vector<Case>& cases) {
    for (const Case& each : cases) {
        CAPTURE(each.words, each.lc_all);
        CHECK(ours(each.words, each.lc_all) == reference_answer(each.words, each.lc_all));
    }
}

// A case where we do not do what the reference does.
struct Different {
    const char* reason;
    Words words;
    std::string err; // ours
    std::string lc_all = "C.UTF-8";
};

void check_different(Answerer ours, const std::vector<Different>& cases) {
    for (const Different& each : cases) {
        CAPTURE(each.reason, each.words, each.lc_all);
        const Answer answer = ours(each.words, each.lc_all);
        CHECK(answer.err == each.err);
        CHECK(answer != reference_answer(each.words, each.lc_all));
    }
}

std::vector<Case> after(const Words& first, const std::vector<Words>& more) {
    std::vector<Case> cases;
    for (const Words& words : more) {
        cases.push_back({first + words});
    }
    return cases;
}

} // namespace

// Each table is a test of both sides, library and product.
#define SIDE_BY_SIDE(name, function)                                                               \
    TEST_CASE("library: " name, "[library]") {                                                     \
        function(&library_answer);                                                                 \
    }                                                                                              \
    TEST_CASE("product: " name, "[product]") {                                                     \
        function(&product_answer);                                                                 \
    }

namespace {

void forms_of_options(Answerer ours) {
    check_same(ours,
               after({},
                     {
                         {},
                         {"--cid"},
                         {"-c"},
                         {"--cid="},
                         {"--cid", ""},
                         {"--cid=x"},
                         {"--cid=x=y"},
                         {"--cid =x"},
                         {"--cid", "--cuuid", "--cuuid"},
                         {"--cid", "-c"},
                         {"-c", "-t"},
                         {"-c", "--"},
                         {"--Cid", "x"},
                         {"--ci", "x"},
                         {"-cid", "x"},
                         {"--c", "x"},
                         {"---"},
                         {"---cid"},
                         {"--="},
                         {"--=x"},
                         {"-="},
                         {"-t=x"},
                         {"-c=x"},
                         {"-c=x", "y"},
                         {"--no-exec"},
                         {"--exec-"},
                         {"--execute"},
                         {"--terminal=", "-c", "x"},
                         {"--terminal", "no", "-c", "x"},
                         {"-te", "-c", "x"},
                         {"-ite", "-c", "x"},
                         {"-tec"},
                         {"-tec", "x"},
                         {"-ct", "x"},
                         {"-cu", "x"},
                         {"-cu", "x", "y"},
                         {"-cTu", "x", "5"},
                         {"-ucb", "x"},
                         {"-cx", "y"},
                         {"-xc", "y"},
                         {"-cx"},
                         {"-c5"},
                         {"-t-"},
                         {"-tt", "-c", "x"},
                         {"-T5", "-c", "x"},
                         {"-T5", "7", "-c", "x"},
                         {"-5"},
                         {"-0"},
                         {"-0", "x"},
                         {"-0c", "x"},
                         {"-z"},
                         {"-Z", "-c"},
                         {"-C", "x"},
                         {"-\x01"},
                         {"-c", "x", "-q"},
                         {"-", "-c", "x"},
                         {"", "-c", "x"},
                         {"stray", "words", "-c", "x", "more"},
                         {"--", "-c", "x"},
                         {"-c", "x", "--", "--bogus"},
                         {"--api-version", "1", "-c", "x"},
                         {"--pidfile"},
                         {"--restore-arg"},
                         {"-c", "x", "--pidfile=p", "--restore-arg", "-c"},
                         {"-e", "--exec=no", "-c", "x"},
                     }));
}
SIDE_BY_SIDE("forms of options", forms_of_options)

void help_and_version(Answerer ours) {
    check_same(ours,
               after({},
                     {
                         {"--help"},
                         {"--help-all"},
                         {"-h"},
                         {"-?"},
                         {"-th"},
                         {"-t?"},
                         {"-hx"},
                         {"-xh"},
                         {"-ch"},
                         {"-ch", "x"},
                         {"-c", "-h"},
                         {"--cid", "--help"},
                         {"--help=x"},
                         {"--help="},
                         {"--help-conmon"},
                         {"--help-"},
                         {"--helpme"},
                         {"--help", "--bogus"},
                         {"--bogus", "--help"},
                         {"--", "--help"},
                         {"word", "--help"},
                         {"--timeout", "x", "--help"},
                         {"--help", "--timeout", "x"},
                         {"-c"},
                         {"--version"},
                         {"--version="},
                         {"--version=no"},
                         {"--version", "extra"},
                         {"--version", "--bogus"},
                         {"--bogus", "--version"},
                         {"--version", "--help"},
                         {"--help", "--version"},
                         {"--version", "-c"},
                         {"--version", "--log-level=bad", "--exit-delay=-1"},
                         {"--", "--version"},
                         {"-version"},
                         {"-V"},
                         {"--vers"},
                         {"--versions"},
                     }));
    check_same(ours, {{{"--help"}, "C"}, {{"-h"}, "POSIX"}, {{"--version"}, "C"}});
}
SIDE_BY_SIDE("help and version", help_and_version)

void integers(Answerer ours) {
    const Words values = {
        "",
        " ",
        "5",
        " 5",
        "\t5",
        "\v\f\r\n5",
        "5 ",
        "+5",
        "-5",
        "--5",
        "+-5",
        "- 5",
        "-",
        "+",
        "0",
        "-0",
        "00",
        "0x",
        "0X",
        "0x ",
        "-0x",
        "0x10",
        "0X1f",
        "0xg",
        "0xfg",
        "x10",
        "08",
        "010",
        "0b1",
        "-0x10",
        "1e3",
        "1k",
        "1.0",
        "1_0",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "0x7fffffff",
        "0x80000000",
        "037777777777",
        "4294967296",
        "4294967297",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "0x8000000000000000",
        "-0x8000000000000000",
        "0xffffffffffffffff",
        "18446744073709551616",
        "0x100000000000000005",
        "0x10000000000000000f",
        "99999999999999999999999",
        "99999999999999999999x",
        "-99999999999999999999x",
        "٣",
        "ü",
        "\"5\"",
        "5\n",
        "a\x01"
        "b",
    };
    std::vector<Case> cases;
    // A negative delay is refused by a later check, after which nothing else is looked at.
    const Words rest = complete + Words{"-l", "none"};
    for (const std::string& value : values) {
        cases.push_back({rest + Words{"--exit-delay", value}});
        cases.push_back({rest + Words{"--exit-delay=" + value}, "C"});
        cases.push_back({rest + Words{"--timeout=" + value}});
        cases.push_back({rest + Words{"-T", value}, "C"});
        cases.push_back({rest + Words{"--log-size-max", value}});
        cases.push_back({rest + Words{"--log-global-size-max=" + value}});
    }
    cases.push_back({{"--exit-delay"}});
    cases.push_back({{"-T"}});
    cases.push_back({{"-tT", "x"}});
    cases.push_back({rest + Words{"--exit-delay=-1", "--exit-delay=1"}});
    cases.push_back({rest + Words{"--exit-delay=1", "--exit-delay=-1"}});
    cases.push_back({{"--timeout", "\xff"}});
    check_same(ours, cases);
}
SIDE_BY_SIDE("integers", integers)

void charsets(Answerer ours) {
    const Words values = {"ü",
                          "a\xcc\x88",
                          "€",
                          "😀",
                          "\xff",
                          "\xc3",
                          "\xc3x",
                          "x\x80",
                          "\xc0\x80",
                          "\xed\xa0\x80",
                          "\xef\xbf\xbf",
                          "\xef\xb7\x90",
                          "\xf4\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80",
                          "\xe0\x9f\xbf",
                          "\xf0\x8f\xbf\xbf",
                          "\xf8\x88\x80\x80\x80",
                          "\x7f\x01"};
    std::vector<Case> cases;
    const Words rest = complete + Words{"-l", "none"};
    for (const std::string& value : values) {
        for (const char* lc_all : {"C", "C.UTF-8", "C.utf8", "POSIX", ""}) {
            cases.push_back({rest + Words{"--log-tag", value}, lc_all});
        }
        for (const char* name : {"--cid", "--exit-command-arg", "--log-path", "--runtime-opt"}) {
            cases.push_back({rest + Words{name, value}, "C"});
            cases.push_back({{std::string{name} + "=" + value}, "C.UTF-8"});
        }
    }
    for (const char* lc_all : {"C", "C.UTF-8"}) {
        cases.push_back({{"-c", "\xff", "--help"}, lc_all});
        cases.push_back({{"--help", "-c", "\xff"}, lc_all});
        cases.push_back({{"-cx", "\xff"}, lc_all});
        cases.push_back({{"--version", "-c", "\xff"}, lc_all});
        cases.push_back({{"--ü"}, lc_all});
        cases.push_back({{"-ü"}, lc_all});
        cases.push_back({{"-tü"}, lc_all});
        cases.push_back({{"--😀=x"}, lc_all});
        cases.push_back({{"\xff", "-c", "x", "ü"}, lc_all});
    }
    cases.push_back({{"--\xff"}});
    cases.push_back({{"-t\xff"}});
    check_same(ours, cases);
    check_different(
        ours,
        {
            {"a UTF-8 locale counts as one although it is not installed",
             rest + Words{"--log-tag", "ü"},
             "accepted\n",
             "xx_XX.UTF-8"},
            {"GLib marks the whole line and escapes our quotes when a message is not text",
             {"--timeout", "\xff"},
             "conmon: option parsing failed: Cannot parse integer value ?\\xff? for --timeout\n",
             "C"},
            {"GLib marks the whole line when a message is not text",
             {"--\xc3\x28"},
             "conmon: option parsing failed: Unknown option --\\xc3(\n",
             "C"},
        });
}
SIDE_BY_SIDE("charsets", charsets)

void rules(Answerer ours) {
    const Words none = {"-l", "none"};
    check_same(
        ours,
        after({},
              {
                  {"-c", "x"},
                  {"-u", "x"},
                  {"-c", "x", "-u", "y"},
                  {"-c", "x", "-u", "y", "-r", "/nonexistent"},
                  {"-c", "x", "-u", "y", "-r", "/etc/passwd"},
                  {"-c", "x", "-u", "y", "-r", "/etc/passwd/x"},
                  {"-c", "x", "-u", "y", "-r", ""},
                  {"-c", "x", "-u", "y", "-r", "/tmp"},
                  {"-c", "x", "-u", "y", "-r", "true"},
                  {"-c", "x", "-u", "y", "-r", std::string(300, 'x')},
                  {"-c", "x", "-u", "y", "-r", "/nonexistent", "-r", "/bin/true"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true", "--runtime=/nonexistent"},
                  {"-c", "x", "-r", "/bin/true", "-e"},
                  {"-c", "x", "-r", "/bin/true", "-e", "--api-version"},
                  {"-c", "x", "-r", "/bin/true", "-e", "--exec-process-spec="},
                  {"-c", "x", "-r", "/bin/true", "-e", "--exec-process-spec=", "-l", "none"},
                  {"-c", "x", "--exec-attach"},
                  {"-c", "x", "--exec-attach", "--api-version"},
                  {"-c", "x", "--exec-attach", "-e"},
                  {"-c", "x", "--exec-attach=0", "-e", "--api-version=0"},
                  {"-c", "x", "--restore=", "-e"},
                  {"-c", "x", "--restore", "r", "-e", "--exec-attach"},
                  {"-c", "x", "--log-level", "bad", "--restore", "r", "-e"},
                  {"-c", "x", "--log-level", "bad", "--log-level", "worse"},
                  {"-c", "x", "--log-level", "bad", "--log-level", "info"},
                  {"-c", "x", "--log-level="},
                  {"--log-level", "bad"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true", "--exit-delay=-1"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true", "--exit-delay=-1", "-e"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true", "--exit-delay=-1", "-l", "bogus:x"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true"},
                  {"-c", "x", "-u", "y", "-r", "/bin/true", "--log-tag=t"},
              }));
    std::vector<Words> levels;
    for (const char* level : {"error",
                              "fatal",
                              "panic",
                              "warn",
                              "warning",
                              "info",
                              "debug",
                              "trace",
                              "ERROR",
                              "Warn",
                              "warnin",
                              "warnings",
                              "information",
                              "err",
                              " info",
                              "ınfo"}) {
        levels.push_back(none + Words{"--log-level", level});
    }
    check_same(ours, after(complete, levels));
}
SIDE_BY_SIDE("rules between options", rules)

// Also: which files are there afterwards.
void log_paths(Answerer ours) {
    const std::vector<Words> values = {
        {"none"},
        {"off"},
        {"null"},
        {"none:"},
        {"none:/x"},
        {"off:x:y"},
        {"NONE:"},
        {"None"},
        {"journald"},
        {"journald:"},
        {"journald:x"},
        {"journald:x:y"},
        {"journald::"},
        {"Journald:"},
        {"passthrough"},
        {"passthrough:"},
        {"passthrough:x"},
        {"k8s-file"},
        {"k8s-file:"},
        {"k8s-file::"},
        {"k8s-file:x"},
        {"k8s-file::x"},
        {"k8s-file:./x"},
        {"k8s-file:none"},
        {":x"},
        {"::x"},
        {":none"},
        {":journald"},
        {":k8s-file"},
        {""},
        {":"},
        {"::"},
        {"x"},
        {"./x"},
        {"k8s"},
        {"bogus:/x"},
        {"bogus:"},
        {"k8s-files:x"},
        {"a:b:c"},
        {"./a:b"},
        {"/nonexistent/x"},
        {"k8s-file:/nonexistent/x"},
        {"/"},
        {"k8s-file:/tmp"},
        {"nonexistent/x"},
        {" none"},
        {"none "},
        {"json-file:x"},
        {"passthrough-tty:"},
    };
    std::vector<Words> lists;
    for (const Words& value : values) {
        lists.push_back(Words{"-l"} + value);
        lists.push_back({"--log-path=" + value[0], "-l", "none"});
    }
    const Words more[] = {
        {"-l", "a", "-l", "b"},
        {"-l", "a", "-l", "none", "-l", "journald"},
        {"-l", "none", "-l", "bogus:", "-l", ""},
        {"-l", "", "-l", "bogus:"},
        {"-l", "a", "-l", "k8s-file:"},
        {"-l", "a", "-l", "k8s-file:b", "-l", ":c"},
        {"-l", "none", "--log-tag=t"},
        {"-l", "passthrough", "--log-tag=t"},
        {"-l", "journald", "--log-tag=t"},
        {"-l", "a", "--log-tag="},
        {"-l", "a", "--log-tag=t", "-l", "journald"},
        {"-l", "a", "--log-tag=t", "-l", "none"},
        {"-l", "/nonexistent/x", "--log-tag=t"},
        {"-l", "journald", "-l", "/nonexistent/x", "-c", "short"},
        {"-l", "journald", "-l", "a", "-c", "123456789012"},
        {"-l", "journald", "-c", "123456789012"},
        {"-l", "journald", "-c", "1234567890123"},
        {"-l", "journald", "-c", ""},
        {"-l", "a", "-c", "short"},
    };
    lists.insert(lists.end(), std::begin(more), std::end(more));
    check_same(ours, after(complete, lists));
    const char* colon = "a colon may stand in a log path";
    check_different(ours,
                    {
                        {colon, complete + Words{"-l", "k8s-file:a:b"}, "accepted\n"},
                        {colon, complete + Words{"-l", "k8s-file:a:"}, "accepted\n"},
                        {colon, complete + Words{"-l", ":a:b"}, "accepted\n"},
                        {colon, complete + Words{"-l", ":none:x"}, "accepted\n"},
                        {colon,
                         complete + Words{"-l", "/nonexistent/a:b"},
                         "[conmon:e]: Failed to open log file No such file or directory\n"},
                    });
}
SIDE_BY_SIDE("log paths (regression 60)", log_paths)

// Options that came with 2.2.0: the same as there, and unknown before.
void newer_options(Answerer ours) {
    const Words none = complete + Words{"-l", "none"};
    const Words file = complete + Words{"-l", "log"};
    const Words journald = complete + Words{"-l", "journald"};
    const std::string format = "[conmon:e]: Container labels must be in format LABEL=VALUE ";
    const std::string names = "[conmon:e]: Container label names must contain only uppercase "
                              "letters, numbers and underscore ";
    const std::string refused = "conmon: option parsing failed: ";
    const std::vector<std::pair<Words, std::string>> cases = {
        {{"--log-max-files=-1"}, "conmon: log-max-files must be non-negative, got -1\n"},
        {{"--log-max-files=-0x80000000", "--version="}, ""},
        {{"--log-max-files=-2147483648"},
         "conmon: log-max-files must be non-negative, got -2147483648\n"},
        {{"--log-max-files", "2147483648"},
         refused + "Integer value “2147483648” for --log-max-files out of range\n"},
        {{"--log-max-files"}, refused + "Missing argument for --log-max-files\n"},
        {{"--log-max-files=0"}, "conmon: Container ID not provided. Use --cid\n"},
        {{"--log-max-files=0", "--log-rotate"},
         "conmon: log-max-files must be at least 1 when log-rotate is enabled, got 0\n"},
        {{"--log-max-files=0", "--log-rotate=no"},
         "conmon: log-max-files must be at least 1 when log-rotate is enabled, got 0\n"},
        {{"--log-rotate"}, "conmon: Container ID not provided. Use --cid\n"},
        {none + Words{"--log-rotate",
                      "--log-max-files=010",
                      "--log-allowlist-dir",
                      "/x",
                      "--log-allowlist-dir="},
         "accepted\n"},
        {none + Words{"--log-label", "bad"}, "accepted\n"},
        {none + Words{"--log-label"}, refused + "Missing argument for --log-label\n"},
        {file + Words{"--log-label", "A=b"}, "[conmon:e]: k8s-file doesn't support --log-label\n"},
        {file + Words{"--log-label", "A=b", "--log-tag", "t"},
         "[conmon:e]: k8s-file doesn't support --log-tag\n"},
        {file + Words{"--log-label", "A=b", "-l", "journald"}, "accepted\n"},
        {journald + Words{"--log-label", "A=b", "--log-label", "C_9="}, "accepted\n"},
        {journald + Words{"--log-label="}, format + "(none or more than one '=' present in '')\n"},
        {journald + Words{"--log-label", "=b"}, format + "(no LABEL present in '=b')\n"},
        {journald + Words{"--log-label", "=b=c"}, format + "(no LABEL present in '=b=c')\n"},
        {journald + Words{"--log-label", "A"},
         format + "(none or more than one '=' present in 'A')\n"},
        {journald + Words{"--log-label", "a"},
         format + "(none or more than one '=' present in 'a')\n"},
        {journald + Words{"--log-label", "A=b=c"},
         format + "(none or more than one '=' present in 'A=b=c')\n"},
        {journald + Words{"--log-label", "a=b"}, names + "(in 'a=b')\n"},
        {journald + Words{"--log-label", "A=b", "--log-label", "Ä=b"}, names + "(in 'Ä=b')\n"},
        {journald + Words{"--log-label", "A B=c"}, names + "(in 'A B=c')\n"},
        {journald + Words{"--log-label", "a=b", "-c", "short"},
         "[conmon:e]: Container ID must be longer than 12 characters\n"},
        {none + Words{"--no-container-partial-message"},
         "[conmon:w]: --no-container-partial-message has no effect without journald log "
         "driver\naccepted\n"},
        {none + Words{"--no-container-partial-message", "--log-level=error"}, "accepted\n"},
        {journald + Words{"--no-container-partial-message=x"}, "accepted\n"},
        {none + Words{"--no-container-partial-message", "--exit-delay=-1"},
         "[conmon:e]: Delay before invoking exit command must be greater than or equal to 0\n"},
    };
    for (const auto& [words, err] : cases) {
        CAPTURE(words);
        const Answer answer = ours(words, "C.UTF-8");
        const Answer theirs = reference_answer(words, "C.UTF-8");
        CHECK(answer.err == err);
        if (reference() >= Version{2, 2, 0}) {
            CHECK(answer == theirs);
        } else {
            CHECK(theirs.err.find("Unknown option --") != std::string::npos);
        }
    }
    // 2.2.1 has the seccomp options, and ignores them if it was built without seccomp; HEAD, which
    // calls itself 2.2.1 too, has not.
    const std::string warning = "[conmon:w]: --seccomp-notify-socket and --seccomp-notify-plugins "
                                "are not supported, ignoring\naccepted\n";
    check_different(ours,
                    {
                        {"seccomp options are accepted with a warning",
                         none + Words{"--seccomp-notify-socket", "s"},
                         warning},
                        {"seccomp options are accepted with a warning",
                         none + Words{"--seccomp-notify-plugins=p"},
                         warning},
                    });
}
SIDE_BY_SIDE("options since 2.2.0", newer_options)

// The words that a runtime was started with, by the reference and by us.
struct Started {
    Words reference;
    Words ours;
};

Started start_runtime(const Words& more) {
    const support::TempDir home;
    const std::string runtime = home / "runtime";
    const std::string record = home / "words";
    const std::string bundle = home / "bundle";
    std::filesystem::create_directory(bundle);
    support::write_file(
        runtime, "#!/bin/sh\nprintf '%s\\0' \"$0\" \"$@\" > \"$RECORD\"\nexit 1\n", 0755);
    const Words words =
        Words{"-c", "ID", "-u", "u", "--sync", "--full-attach", "-r", runtime, "-l", "none"} + more;
    support::Launch launch;
    launch.argv = Words{reference_path()} + words;
    launch.env = {
        "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "RECORD=" + record, "TMPDIR=" + home.path()};
    launch.cwd = bundle;
    support::Process process = support::launch(launch);
    try {
        (void)process.wait(support::Deadline{support::soon});
    } catch (...) {
        process.kill(SIGKILL);
        throw;
    }
    Started started;
    std::istringstream recorded{support::read_file(record)};
    for (std::string word; std::getline(recorded, word, '\0');) {
        started.reference.push_back(word);
    }

    const InDirectory there{bundle};
    CommandLine line{words};
    REQUIRE(line.check_before_log() == Checked::passed);
    // The name of the socket is random.
    const auto console = std::ranges::find(started.reference, "--console-socket");
    const char* socket = console != started.reference.end() ? (console + 1)->c_str() : nullptr;
    std::vector<const char*> argv(cli::argv_words_max);
    REQUIRE(cli::put_runtime_argv(line.options(), socket, argv));
    started.ours = {argv.begin(), std::ranges::find(argv, nullptr)};
    return started;
}

} // namespace

TEST_CASE("library: the runtime is started with the same words", "[library]") {
    const std::vector<Words> cases = {
        {},
        {"-b", ".", "-p", "pid"},
        {"-b", "."},
        {"--pidfile=pid"},
        {"-s"},
        {"-t"},
        {"-st", "--no-pivot", "--no-new-keyring", "-i"},
        {"--runtime-arg", "--root", "--runtime-arg=/x y", "--runtime-arg="},
        {"--runtime-opt", "--preserve-fds", "--restore-arg=1", "-s", "--runtime-arg", "a"},
        {"--restore", "image", "-t", "--runtime-opt=--tcp-established"},
        {"--restore=", "--no-pivot", "-s", "--no-new-keyring"},
        {"-e", "--exec-process-spec", "spec"},
        {"-e", "--exec-process-spec", "spec", "-s", "--no-pivot", "--no-new-keyring"},
        {"-e",
         "--exec-process-spec=",
         "-b",
         ".",
         "--runtime-arg=x",
         "--runtime-opt=y",
         "--api-version"},
    };
    for (const Words& words : cases) {
        CAPTURE(words);
        const Started started = start_runtime(words);
        CHECK(started.ours.size() > 4);
        CHECK(started.ours == started.reference);
    }
}

TEST_CASE("library: exec with a terminal lacks only --tty, as since 2.1.11", "[library]") {
    Started started = start_runtime({"-et", "--exec-process-spec", "spec", "--runtime-opt=y"});
    if (reference() < Version{2, 1, 11}) {
        const auto tty = std::ranges::find(started.reference, "--tty");
        REQUIRE(tty != started.reference.end());
        started.reference.erase(tty);
    }
    CHECK(started.ours == started.reference);
}

int main(int argc, char** argv) {
    if (::access(reference_path().c_str(), X_OK) != 0) {
        std::printf("skipped: there is no %s to compare with\n", reference_path().c_str());
        return 77;
    }
    const bool wants_product = argc > 1 && std::string_view{argv[1]} == "[product]";
    if (wants_product && std::getenv("MOTE_CONMON") == nullptr) {
        std::printf("skipped: MOTE_CONMON names no program\n");
        return 77;
    }
    return Catch::Session{}.run(argc, argv);
}
