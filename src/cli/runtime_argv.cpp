// The order of words is conmon's exactly: runtimes are run with options that must stand in front of
// their subcommand, and tests of callers compare.

#include "cli/runtime_argv.h"

#include "base/bytes.h"

#include <initializer_list>

namespace cli {

namespace {

// Fills `words` from the front and counts on when they are full.
class Words {
  public:
    explicit Words(std::span<const char*> words) : words_{words} {}

    void put(const char* word) {
        if (count_ < words_.size()) {
            words_[count_] = word;
        }
        ++count_;
    }

    // A nullptr among `words` is left out: so a list shows all that may stand in a place.
    void put(std::initializer_list<const char*> words) {
        for (const char* word : words) {
            if (word != nullptr) {
                put(word);
            }
        }
    }

    void put_values(const Options& options, ListOption option) {
        for (const ListValue& each : options.values()) {
            if (each.option == option) {
                put(each.value);
            }
        }
    }

    // Puts the nullptr at the end. False: not everything fitted.
    [[nodiscard]] bool finish() {
        put(nullptr);
        return count_ <= words_.size();
    }

  private:
    std::span<const char*> words_;
    size_t count_ = 0;
};

const char* word_if(bool condition, const char* word) {
    return condition ? word : nullptr;
}

void put_exec(Words& words, const Options& options) {
    words.put({"exec",
               "--pid-file",
               options.container_pidfile,
               "--process",
               options.exec_process_spec,
               "--detach"});
}

void put_create_or_restore(Words& words, const Options& options) {
    words.put({options.restore != nullptr ? "restore" : "create",
               "--bundle",
               options.bundle,
               "--pid-file",
               options.container_pidfile,
               word_if(options.no_pivot, "--no-pivot"),
               word_if(options.no_new_keyring, "--no-new-keyring")});
    if (options.restore != nullptr) {
        // A restored container runs at once: without --detach the runtime would stay with it.
        words.put({"--detach", "--image-path", options.restore, "--work-path", options.bundle});
    }
}

} // namespace

bool put_runtime_argv(const Options& options,
                      const char* console_socket,
                      std::span<const char*> words) {
    CHECK(options.cid != nullptr && options.runtime != nullptr);
    Words out{words};
    out.put(
        {options.runtime, word_if(options.systemd_cgroup && !options.exec, "--systemd-cgroup")});
    out.put_values(options, ListOption::runtime_arg);
    if (options.exec) {
        put_exec(out, options);
    } else {
        put_create_or_restore(out, options);
    }
    out.put_values(options, ListOption::runtime_opt);
    out.put({word_if(console_socket != nullptr, "--console-socket"), console_socket, options.cid});
    return out.finish();
}

bool put_exit_argv(const Options& options, std::span<const char*> words) {
    CHECK(options.exit_command != nullptr);
    Words out{words};
    out.put(options.exit_command);
    out.put_values(options, ListOption::exit_command_arg);
    return out.finish();
}

} // namespace cli
