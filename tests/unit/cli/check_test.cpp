#include "cli/check.h"
#include "command_line.h"
#include "support/files.h"

#include <filesystem>
#include <map>

#include <catch2/catch.hpp>

using cli::Checked;
using cli::DetailLevel;
using cli::Parsed;
using test::CommandLine;
using test::complete;
using test::InDirectory;
using test::operator+;
using test::Words;

namespace {

// What the checks up to the log paths say about a command line that parses.
std::string refusal(const Words& words) {
    CommandLine line{words};
    REQUIRE(line.parsed() == Parsed::options);
    switch (line.check_before_log()) {
    case Checked::passed:
        return line.check_after_log() == Checked::passed ? "" : "[after] " + line.message();
    case Checked::refused_early:
        return "[early] " + line.message();
    case Checked::refused:
        break;
    }
    return line.message();
}

} // namespace

TEST_CASE("the first rule that is broken is the one that is reported, in conmon's order") {
    // Everything is wrong at first; each step mends what the message before it complained about.
    const std::vector<std::pair<Words, std::string>> steps = {
        {{"--log-rotate",
          "--log-max-files=-1",
          "--log-level=loud",
          "--restore=r",
          "--exec",
          "--exec-attach",
          "--exit-delay=-1"},
         "[early] log-max-files must be non-negative, got -1"},
        {{"--log-max-files=0"},
         "[early] log-max-files must be at least 1 when log-rotate is enabled, got 0"},
        {{"--log-max-files=1"}, "[early] Container ID not provided. Use --cid"},
        {{"--cid=short"}, "No such log level loud"},
        {{"--log-level=info"}, "Cannot use 'exec' and 'restore' at the same time"},
    };
    Words words;
    for (const auto& [more, expected] : steps) {
        words = words + more;
        REQUIRE(refusal(words) == expected);
    }

    // A flag cannot be taken back, so the list goes on without --exec ...
    words = {"--cid=short", "--exec-attach", "--exit-delay=-1"};
    REQUIRE(refusal(words) == "Attach can only be specified with exec");
    // ... and with it, but without --restore.
    words = words + Words{"--exec"};
    const std::vector<std::pair<Words, std::string>> exec_steps = {
        {{}, "Attach can only be specified for a non-legacy exec session"},
        {{"--api-version"}, "Container UUID not provided. Use --cuuid"},
        {{"--cuuid="}, "Runtime path not provided. Use --runtime"},
        {{"--runtime=/nonexistent"},
         "Runtime path /nonexistent is not valid No such file or directory"},
        {{"--runtime=/etc/passwd"}, "Runtime path /etc/passwd is not valid Permission denied"},
        {{"--runtime="}, "Runtime path  is not valid No such file or directory"},
        {{"--runtime=/tmp"}, "Exec process spec path not provided. Use --exec-process-spec"},
        {{"--exec-process-spec="},
         "Delay before invoking exit command must be greater than or equal to 0"},
        {{"--exit-delay=0"}, "Log driver not provided. Use --log-path"},
        {{"-l", "none", "-l", "bogus:x", "-l", ""}, "No such log driver bogus"},
    };
    for (const auto& [more, expected] : exec_steps) {
        words = words + more;
        REQUIRE(refusal(words) == expected);
    }
}

TEST_CASE("only exec without --api-version needs no UUID") {
    const Words rest = {"-c", "x", "-r", "/bin/true", "-l", "none", "--exec-process-spec=s"};
    REQUIRE(refusal(rest + Words{"--exec"}).empty());
    REQUIRE(refusal(rest + Words{"--exec", "--api-version"}) ==
            "Container UUID not provided. Use --cuuid");
    REQUIRE(refusal(rest) == "Container UUID not provided. Use --cuuid");
}

TEST_CASE("levels have their logrus names, in any case, and warning is the default") {
    const std::map<std::string, DetailLevel> levels = {{"error", DetailLevel::error},
                                                       {"fatal", DetailLevel::error},
                                                       {"panic", DetailLevel::error},
                                                       {"warn", DetailLevel::warning},
                                                       {"warning", DetailLevel::warning},
                                                       {"info", DetailLevel::info},
                                                       {"debug", DetailLevel::debug},
                                                       {"trace", DetailLevel::trace},
                                                       {"TRACE", DetailLevel::trace},
                                                       {"Fatal", DetailLevel::error}};
    for (const auto& [name, level] : levels) {
        CAPTURE(name);
        CommandLine line{complete + Words{"-l", "none", "--log-level", name}};
        REQUIRE(line.check_before_log() == Checked::passed);
        REQUIRE(line.options().detail == level);
    }
    CommandLine line{complete + Words{"-l", "none"}};
    REQUIRE(line.check_before_log() == Checked::passed);
    REQUIRE(line.options().detail == DetailLevel::warning);
    for (const char* bad : {"", "warnin", "warnings", "errors", "info ", "0"}) {
        REQUIRE(refusal(complete + Words{"-l", "none", "--log-level", bad}) ==
                std::string{"No such log level "} + bad);
    }
}

TEST_CASE("a log path names a driver, a driver and a path, or a path (regression 60)") {
    struct {
        const char* value;
        const char* k8s_file; // nullptr: none
        bool journald;
        bool passthrough;
    } const good[] = {
        {"none", nullptr, false, false},
        {"off", nullptr, false, false},
        {"null", nullptr, false, false},
        {"none:", nullptr, false, false},
        {"off:/p", nullptr, false, false},
        {"journald", nullptr, true, false},
        {"journald:", nullptr, true, false},
        {"journald:x", nullptr, true, false},
        {"passthrough", nullptr, false, true},
        {"passthrough:x", nullptr, false, true},
        {":x", "x", false, false},
        {"::x", "x", false, false},
        {":/p", "/p", false, false},
        {":journald", "journald", false, false},
        {":none", "none", false, false},
        {"/p", "/p", false, false},
        {"p", "p", false, false},
        {"./none", "./none", false, false},
        {"k8s-file:/p", "/p", false, false},
        {"k8s-file:p", "p", false, false},
        {"k8s-file::/p", "/p", false, false},
        {"None", "None", false, false},
        {"k8s-file:none", "none", false, false},
        {"k8s-file:k8s-file", "k8s-file", false, false},
    };
    for (const auto& each : good) {
        CAPTURE(each.value);
        CommandLine line{complete + Words{"-l", each.value}};
        REQUIRE(line.check_before_log() == Checked::passed);
        const cli::LogDrivers& drivers = line.options().drivers;
        REQUIRE(drivers.journald == each.journald);
        REQUIRE(drivers.passthrough == each.passthrough);
        REQUIRE((drivers.k8s_file == nullptr) == (each.k8s_file == nullptr));
        if (each.k8s_file != nullptr) {
            REQUIRE(drivers.k8s_file == std::string{each.k8s_file});
        }
    }
    const std::map<std::string, std::string> bad = {
        {"", "log-path must not be empty"},
        {":", "log-path must not be empty"},
        {":::", "log-path must not be empty"},
        {"k8s-file", "k8s-file requires a filename"},
        {"k8s-file:", "k8s-file requires a filename"},
        {"k8s-file::", "k8s-file requires a filename"},
        {"bogus:/p", "No such log driver bogus"},
        {"bogus:", "No such log driver bogus"},
        {"Journald:", "No such log driver Journald"},
        {"./x:y", "No such log driver ./x"},
    };
    for (const auto& [value, expected] : bad) {
        CAPTURE(value);
        REQUIRE(refusal(complete + Words{"-l", value}) == expected);
    }
    REQUIRE(refusal(complete) == "Log driver not provided. Use --log-path");
}

TEST_CASE("a colon may stand in a log path (regression 59)") {
    const std::map<std::string, std::string> paths = {{"k8s-file:/x/a:b.log", "/x/a:b.log"},
                                                      {"k8s-file:/x/a:b:", "/x/a:b:"},
                                                      {"/x/a:b.log", "/x/a:b.log"},
                                                      {"/a:", "/a:"},
                                                      {":/x/a:b", "/x/a:b"},
                                                      {":a:b", "a:b"},
                                                      {"/journald:x", "/journald:x"},
                                                      {"k8s-file:none:x", "none:x"}};
    for (const auto& [value, path] : paths) {
        CAPTURE(value);
        CommandLine line{complete + Words{"-l", value}};
        REQUIRE(line.check_before_log() == Checked::passed);
        REQUIRE(line.options().drivers.k8s_file == path);
    }
}

TEST_CASE("all drivers that are given are used, and the last of several files (regression 60)") {
    CommandLine line{complete +
                     Words{"-l", "/a", "-l", "journald", "-l", "none", "-l", "k8s-file:/b"}};
    REQUIRE(line.check_before_log() == Checked::passed);
    REQUIRE(line.options().drivers.journald);
    REQUIRE_FALSE(line.options().drivers.passthrough);
    REQUIRE(line.options().drivers.k8s_file == std::string{"/b"});
}

TEST_CASE("a tag and labels need journald when there is a log file") {
    const Words file = complete + Words{"-l", "log"};
    REQUIRE(refusal(file + Words{"--log-tag="}) == "[after] k8s-file doesn't support --log-tag");
    REQUIRE(refusal(file + Words{"--log-label", "bad"}) ==
            "[after] k8s-file doesn't support --log-label");
    REQUIRE(refusal(file + Words{"--log-label=A=b", "--log-tag=t"}) ==
            "[after] k8s-file doesn't support --log-tag");
    for (const char* driver : {"journald", "none", "passthrough"}) {
        CAPTURE(driver);
        REQUIRE(refusal(complete + Words{"-l", driver, "--log-tag=t", "--log-label=A=b"}).empty());
    }
    REQUIRE(refusal(file + Words{"-l", "journald", "--log-tag=t", "--log-label=A=b"}).empty());
    REQUIRE(refusal(complete + Words{"-l", "none", "--log-label", "bad"}).empty());
}

TEST_CASE("journald needs an ID of more than twelve characters") {
    const Words rest = {"-u", "u", "-r", "/bin/true", "-l", "journald", "--log-label=bad"};
    REQUIRE(refusal(Words{"-c", "123456789012"} + rest) ==
            "[after] Container ID must be longer than 12 characters");
    REQUIRE(refusal(Words{"-c", "1234567890123"} + rest).starts_with("[after] Container labels"));
}

TEST_CASE("a label has a name of capitals, digits and underscores, and one = (regression 58)") {
    const std::string format = "[after] Container labels must be in format LABEL=VALUE ";
    const auto with = [](const char* label) {
        return refusal(complete +
                       Words{"-l", "journald", "--log-label=GOOD=1", "--log-label", label});
    };
    for (const char* good : {"A=b", "A=", "_9Z=x y", "0=:"}) {
        CAPTURE(good);
        REQUIRE(with(good).empty());
    }
    REQUIRE(with("=b") == format + "(no LABEL present in '=b')");
    REQUIRE(with("==") == format + "(no LABEL present in '==')");
    for (const std::string bad : {"", "A", "a b", "A=b=c", "a==", "A%b"}) {
        REQUIRE(with(bad.c_str()) ==
                format + "(none or more than one '=' present in '" + bad + "')");
    }
    for (const std::string bad : {"a=b", "A-B=c", "A =c", "Ä=c", "%=c"}) {
        REQUIRE(with(bad.c_str()) ==
                "[after] Container label names must contain only uppercase letters, "
                "numbers and underscore (in '" +
                    bad + "')");
    }
}

TEST_CASE("the bundle and the pid file default to the working directory") {
    const std::string cwd = std::filesystem::current_path();
    CommandLine line{complete + Words{"-l", "none"}};
    REQUIRE(line.check_before_log() == Checked::passed);
    REQUIRE(line.options().bundle == cwd);
    REQUIRE(line.options().container_pidfile == cwd + "/pidfile-0123456789abc");

    CommandLine given{complete + Words{"-l", "none", "-b", "", "-p", "p"}};
    REQUIRE(given.check_before_log() == Checked::passed);
    REQUIRE(given.options().bundle == std::string{});
    REQUIRE(given.options().container_pidfile == std::string{"p"});

    CommandLine exec{complete + Words{"-l", "none", "-e", "--exec-process-spec=s"}};
    REQUIRE(exec.check_before_log() == Checked::passed);
    REQUIRE(exec.options().bundle == nullptr);
    REQUIRE(exec.options().container_pidfile == cwd + "/pidfile-0123456789abc");
}

TEST_CASE("a working directory that is gone, or too deep for a pid file, is refused") {
    {
        const support::TempDir home;
        std::filesystem::create_directory(home / "gone");
        const InDirectory there{home / "gone"};
        std::filesystem::remove(home / "gone");
        REQUIRE(refusal(complete + Words{"-b", "/", "-p", "p", "-l", "none"}) ==
                "Failed to get working directory");
    }
    Words long_id = complete;
    long_id[1] = std::string(cli::DefaultPaths{}.size(), 'x');
    REQUIRE(refusal(long_id + Words{"-l", "none"}) == "Path of the container pidfile is too long");
    REQUIRE(refusal(long_id + Words{"-l", "none", "-p", "p"}).empty());
}

TEST_CASE("what has no effect is warned about") {
    const auto warnings = [](const Words& more) {
        CommandLine line{complete + more};
        REQUIRE(line.check_before_log() == Checked::passed);
        std::string texts;
        for (const std::string_view text : cli::warnings_about(line.options())) {
            texts += std::string{text} + "|";
        }
        return texts;
    };
    REQUIRE(warnings({"-l", "none"}) == "||");
    REQUIRE(warnings({"-l", "none", "--no-container-partial-message"}) ==
            "--no-container-partial-message has no effect without journald log driver||");
    REQUIRE(warnings({"-l", "journald", "--no-container-partial-message"}) == "||");
    const std::string seccomp = "|--seccomp-notify-socket and --seccomp-notify-plugins are not "
                                "supported, ignoring|";
    REQUIRE(warnings({"-l", "none", "--seccomp-notify-socket=s"}) == seccomp);
    REQUIRE(warnings({"-l", "none", "--seccomp-notify-plugins", ""}) == seccomp);
}
