// A command line as a test writes it: words without the program's name, kept alive with everything
// that the parser and the checks make of them.
#pragma once

#include "cli/check.h"
#include "cli/parse.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace test {

using Words = std::vector<std::string>;

inline Words operator+(Words first, const Words& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

class CommandLine {
  public:
    explicit CommandLine(Words words, cli::Charset charset = cli::Charset::utf8)
        : words_{Words{"/usr/bin/conmon"} + words} {
        for (std::string& word : words_) {
            argv_.push_back(word.data());
        }
        parsed_ = cli::parse(argv_, charset, *options_, message_);
    }

    [[nodiscard]] cli::Parsed parsed() const { return parsed_; }
    [[nodiscard]] std::string message() const { return std::string{message_.view()}; }
    [[nodiscard]] cli::Options& options() { return *options_; }

    cli::Checked check_before_log() { return cli::check_before_log(*options_, *paths_, message_); }
    cli::Checked check_after_log() { return cli::check_after_log(*options_, message_); }

    // The values of one list option, in order.
    [[nodiscard]] Words values(cli::ListOption option) const {
        Words values;
        for (const cli::ListValue& each : options_->values()) {
            if (each.option == option) {
                values.emplace_back(each.value);
            }
        }
        return values;
    }

  private:
    Words words_;
    std::vector<char*> argv_;
    std::unique_ptr<cli::Options> options_ = std::make_unique<cli::Options>();
    std::unique_ptr<cli::DefaultPaths> paths_ = std::make_unique<cli::DefaultPaths>();
    base::Text<1024> message_;
    cli::Parsed parsed_;
};

// Options that pass every check that comes before --log-path.
inline const Words complete = {"-c", "0123456789abc", "-u", "uuid", "-r", "/bin/true"};

// The working directory while it lives.
class InDirectory {
  public:
    explicit InDirectory(const std::string& path) { std::filesystem::current_path(path); }
    InDirectory(const InDirectory&) = delete;
    InDirectory& operator=(const InDirectory&) = delete;
    ~InDirectory() { std::filesystem::current_path(before_); }

  private:
    std::filesystem::path before_ = std::filesystem::current_path();
};

} // namespace test
