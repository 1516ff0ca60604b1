#include "cli/runtime_argv.h"
#include "command_line.h"

#include <catch2/catch.hpp>

using cli::Checked;
using cli::Options;
using test::CommandLine;
using test::operator+;
using test::Words;

namespace {

// What `put` writes, which must be the same in every span that is large enough, while every
// smaller one is too small.
template <typename Put> Words written(Put put) {
    std::vector<const char*> words(cli::argv_words_max + 1, "untouched");
    REQUIRE(put(std::span{words}.first(cli::argv_words_max)));
    size_t size = 0;
    while (words[size] != nullptr) {
        ++size;
    }
    REQUIRE(words[size + 1] == std::string{"untouched"});
    for (size_t room = 0; room <= size; ++room) {
        std::vector<const char*> small(room);
        REQUIRE_FALSE(put(std::span<const char*>{small}));
    }
    std::vector<const char*> exact(size + 1);
    REQUIRE(put(std::span<const char*>{exact}));
    return {exact.begin(), exact.end() - 1};
}

Words runtime_argv(const Words& more, const char* console_socket = nullptr) {
    CommandLine line{
        Words{"-c", "ID", "-u", "u", "-r", "/bin/true", "-b", "/B", "-p", "/P", "-l", "none"} +
        more};
    REQUIRE(line.check_before_log() == Checked::passed);
    return written([&](std::span<const char*> words) {
        return cli::put_runtime_argv(line.options(), console_socket, words);
    });
}

const Words everything = {"--runtime-arg",
                          "--root",
                          "--runtime-opt=--x",
                          "--systemd-cgroup",
                          "--no-pivot",
                          "--no-new-keyring",
                          "--restore-arg=-y",
                          "--runtime-arg=/R"};

} // namespace

TEST_CASE("the runtime's words stand in conmon's order") {
    REQUIRE(runtime_argv({}) ==
            Words{"/bin/true", "create", "--bundle", "/B", "--pid-file", "/P", "ID"});
    REQUIRE(runtime_argv(everything, "/S") == Words{"/bin/true",
                                                    "--systemd-cgroup",
                                                    "--root",
                                                    "/R",
                                                    "create",
                                                    "--bundle",
                                                    "/B",
                                                    "--pid-file",
                                                    "/P",
                                                    "--no-pivot",
                                                    "--no-new-keyring",
                                                    "--x",
                                                    "-y",
                                                    "--console-socket",
                                                    "/S",
                                                    "ID"});
    REQUIRE(runtime_argv(everything + Words{"--restore=/I"}, "/S") == Words{"/bin/true",
                                                                            "--systemd-cgroup",
                                                                            "--root",
                                                                            "/R",
                                                                            "restore",
                                                                            "--bundle",
                                                                            "/B",
                                                                            "--pid-file",
                                                                            "/P",
                                                                            "--no-pivot",
                                                                            "--no-new-keyring",
                                                                            "--detach",
                                                                            "--image-path",
                                                                            "/I",
                                                                            "--work-path",
                                                                            "/B",
                                                                            "--x",
                                                                            "-y",
                                                                            "--console-socket",
                                                                            "/S",
                                                                            "ID"});
    REQUIRE(runtime_argv(everything + Words{"--exec", "--exec-process-spec=/E"}, "/S") ==
            Words{"/bin/true",
                  "--root",
                  "/R",
                  "exec",
                  "--pid-file",
                  "/P",
                  "--process",
                  "/E",
                  "--detach",
                  "--x",
                  "-y",
                  "--console-socket",
                  "/S",
                  "ID"});
}

TEST_CASE("an empty word is a word like any other") {
    REQUIRE(runtime_argv({"--runtime-arg=", "--restore=", "-b", ""}, "") ==
            Words{"/bin/true",
                  "",
                  "restore",
                  "--bundle",
                  "",
                  "--pid-file",
                  "/P",
                  "--detach",
                  "--image-path",
                  "",
                  "--work-path",
                  "",
                  "--console-socket",
                  "",
                  "ID"});
}

TEST_CASE("argv_words_max is enough for the longest argv there can be, and not too much") {
    Words words = {"--no-pivot", "--no-new-keyring", "--systemd-cgroup", "--restore=/I"};
    for (size_t count = 0; count < Options::list_values_max - 1; ++count) {
        words.emplace_back("--runtime-opt=x");
    }
    CommandLine line{Words{"-c", "ID", "-u", "u", "-r", "/bin/true", "-l", "none"} + words};
    REQUIRE(line.check_before_log() == Checked::passed);
    std::vector<const char*> argv(cli::argv_words_max);
    REQUIRE(cli::put_runtime_argv(line.options(), "/S", argv));
    // One list value went to --log-path, without which there is nothing to run.
    REQUIRE(argv[cli::argv_words_max - 2] == nullptr);
    REQUIRE(argv[cli::argv_words_max - 3] == std::string{"ID"});
}

TEST_CASE("the exit command gets its arguments in order") {
    CommandLine line{{"--exit-command",
                      "/usr/bin/podman",
                      "--exit-command-arg",
                      "--rm",
                      "--exit-command-arg",
                      "",
                      "--runtime-arg=r",
                      "--exit-command-arg=x"}};
    const Words argv = written(
        [&](std::span<const char*> words) { return cli::put_exit_argv(line.options(), words); });
    REQUIRE(argv == Words{"/usr/bin/podman", "--rm", "", "x"});
}
