// What we were asked to do, as plain data. Every string is a view into argv and lives as long as
// the process; the member names are the option names of contract.md 1.4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace cli {

// conmon's limits of --log-level, in the order of growing detail. "fatal" and "panic" mean error.
enum class DetailLevel : uint8_t { error, warning, info, debug, trace };

// The options that may be given several times, whose values are kept in order.
enum class ListOption : uint8_t {
    log_path,
    log_label,
    exit_command_arg,
    runtime_arg,
    runtime_opt, // also --restore-arg
    log_allowlist_dir,
};

struct ListValue {
    ListOption option;
    const char* value; // NUL-terminated, in argv
};

// Where output goes, as check_before_log() decides from all --log-path values together.
struct LogDrivers {
    const char* k8s_file = nullptr; // path; of several only the last is used
    bool journald = false;
    bool passthrough = false;
};

// A local variable of main: only the pages that are used get touched, while a static one would put
// its 64 KiB, and relocations for its defaults, into the program.
//
// C strings stay `const char*` where their only use is a system call or an argument of a program;
// nullptr means "not given", which differs from "".
struct Options {
    // All values of list options of one command line; more than this many is an error.
    static constexpr size_t list_values_max = 4096;

    const char* program = "conmon"; // base name of argv[0]

    const char* bundle = nullptr;
    const char* cid = nullptr;
    const char* conmon_pidfile = nullptr;
    const char* container_pidfile = nullptr;
    const char* cuuid = nullptr;
    const char* exec_process_spec = nullptr;
    const char* exit_command = nullptr;
    const char* exit_dir = nullptr;
    const char* log_level_name = nullptr;
    const char* log_tag = nullptr;
    const char* name = nullptr;
    const char* persist_dir = nullptr;
    const char* restore = nullptr;
    const char* runtime = nullptr;
    const char* sdnotify_socket = nullptr;
    const char* seccomp_notify_plugins = nullptr;
    const char* seccomp_notify_socket = nullptr;
    const char* socket_dir_path = "/var/run/crio";

    int32_t exit_delay_s = 0;
    int32_t log_max_files = 1;
    int32_t timeout_s = 0;
    int64_t log_size_max = -1;
    int64_t log_global_size_max = -1;

    bool api_version = false;
    bool exec = false;
    bool exec_attach = false;
    bool full_attach = false;
    bool leave_stdin_open = false;
    bool log_rotate = false;
    bool no_container_partial_message = false;
    bool no_new_keyring = false;
    bool no_pivot = false;
    bool no_sync_log = false;
    bool replace_listen_pid = false;
    bool stdin_pipe = false; // --stdin
    bool sync = false;
    bool syslog = false;
    bool systemd_cgroup = false;
    bool terminal = false;
    bool version = false;

    // Set by check_before_log(), as are the defaults of `bundle` and `container_pidfile`.
    DetailLevel detail = DetailLevel::warning;
    LogDrivers drivers;

    size_t list_count = 0;
    std::array<ListValue, list_values_max> list; // only the first list_count are set

    [[nodiscard]] std::span<const ListValue> values() const { return {list.data(), list_count}; }
};

} // namespace cli
