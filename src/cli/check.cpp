// The list of rules. Each refusal is one line, in the order of contract.md 1.2.

#include "cli/check.h"

#include "base/errno_text.h"
#include "base/scan.h"
#include "sys/calls.h"

#include <cerrno>

namespace cli {

namespace {

constexpr size_t path_max = 4096;           // with the terminator; Linux's PATH_MAX
constexpr size_t journald_id_size_min = 13; // CONTAINER_ID is made of the first 12

Checked refuse(base::TextSink& message, std::string_view text) {
    message.put(text);
    return Checked::refused;
}

// With `quoted` in place of the '%' in `text`.
Checked refuse(base::TextSink& message, std::string_view text, std::string_view quoted) {
    const base::Split split = base::split_once(text, '%');
    message.put(split.head).put(quoted);
    return refuse(message, *split.tail);
}

Checked refuse_early(base::TextSink& message, std::string_view text) {
    message.put(text);
    return Checked::refused_early;
}

constexpr struct {
    char name[8];
    DetailLevel detail;
} detail_levels[] = {
    {"error", DetailLevel::error},
    {"fatal", DetailLevel::error},
    {"panic", DetailLevel::error},
    {"warn", DetailLevel::warning},
    {"warning", DetailLevel::warning},
    {"info", DetailLevel::info},
    {"debug", DetailLevel::debug},
    {"trace", DetailLevel::trace},
};

// False if there is no such level.
bool read_detail(std::string_view name, DetailLevel& detail) {
    for (const auto& level : detail_levels) {
        if (base::equals_ignoring_case(name, level.name)) {
            detail = level.detail;
            return true;
        }
    }
    return false;
}

// Exec without a bundle is legacy: it has no sockets and fifos, and so needs none.
Checked fill_in_paths(Options& options, DefaultPaths& storage, base::TextSink& message) {
    char directory[path_max];
    if (sys::getcwd(directory, sizeof directory) <= 0 || directory[0] != '/') {
        return refuse(message, "Failed to get working directory");
    }
    base::BorrowedText paths{storage};
    if (options.bundle == nullptr && !options.exec) {
        options.bundle = paths.view().data() + paths.size();
        paths.put(directory).put('\0');
    }
    if (options.container_pidfile == nullptr) {
        options.container_pidfile = paths.view().data() + paths.size();
        paths.put(directory).put("/pidfile-").put(options.cid).put('\0');
    }
    return paths.overflowed() ? refuse(message, "Path of the container pidfile is too long")
                              : Checked::passed;
}

enum class Driver : uint8_t { none, passthrough, journald, k8s_file, unknown };

constexpr struct {
    char name[12];
    Driver driver;
} driver_names[] = {
    {"none", Driver::none},
    {"off", Driver::none},
    {"null", Driver::none},
    {"passthrough", Driver::passthrough},
    {"journald", Driver::journald},
    {"k8s-file", Driver::k8s_file},
    {"", Driver::k8s_file}, // ":PATH"
};

Driver driver_of(std::string_view name) {
    for (const auto& each : driver_names) {
        if (name == each.name) {
            return each.driver;
        }
    }
    return Driver::unknown;
}

// One value of --log-path: PATH, DRIVER or DRIVER:PATH. conmon cuts the value at every colon, so
// that a path with one ends there or is refused. Here the driver ends at the first colon (or at
// several in a row, which conmon takes for one), the path may hold others, and what begins with '/'
// is a path.
Checked add_log_path(const char* value, LogDrivers& drivers, base::TextSink& message) {
    const std::string_view text{value};
    if (text.find_first_not_of(':') == std::string_view::npos) {
        return refuse(message, "log-path must not be empty");
    }
    const base::Split split =
        *value == '/' ? base::Split{text, std::nullopt} : base::split_once(text, ':');
    const char* path = split.tail ? split.tail->data() : ""; // ends where `value` ends
    while (*path == ':') {
        ++path;
    }
    switch (driver_of(split.head)) {
    case Driver::none:
        return Checked::passed; // others may still be given
    case Driver::passthrough:
        drivers.passthrough = true;
        return Checked::passed;
    case Driver::journald:
        drivers.journald = true;
        return Checked::passed;
    case Driver::k8s_file:
        drivers.k8s_file = path;
        return *path != '\0' ? Checked::passed : refuse(message, "k8s-file requires a filename");
    case Driver::unknown:
        drivers.k8s_file = value;
        return !split.tail ? Checked::passed : refuse(message, "No such log driver %", split.head);
    }
    return Checked::refused; // not reached
}

Checked add_log_paths(Options& options, base::TextSink& message) {
    bool is_given = false;
    for (const ListValue& each : options.values()) {
        if (each.option != ListOption::log_path) {
            continue;
        }
        is_given = true;
        const Checked checked = add_log_path(each.value, options.drivers, message);
        if (checked != Checked::passed) {
            return checked;
        }
    }
    return is_given ? Checked::passed : refuse(message, "Log driver not provided. Use --log-path");
}

Checked check_label(std::string_view label, base::TextSink& message) {
    const size_t name_size = label.find('=');
    if (name_size == 0) {
        return refuse(message,
                      "Container labels must be in format LABEL=VALUE (no LABEL present in '%')",
                      label);
    }
    if (name_size == std::string_view::npos || label.rfind('=') != name_size) {
        return refuse(message,
                      "Container labels must be in format LABEL=VALUE (none or more than one '=' "
                      "present in '%')",
                      label);
    }
    for (const char one : std::string_view{label.data(), name_size}) {
        if (!(one >= 'A' && one <= 'Z') && !(one >= '0' && one <= '9') && one != '_') {
            return refuse(message,
                          "Container label names must contain only uppercase letters, numbers and "
                          "underscore (in '%')",
                          label);
        }
    }
    return Checked::passed;
}

} // namespace

Checked check_before_log(Options& options, DefaultPaths& paths, base::TextSink& message) {
    if (options.log_max_files < 0) {
        message.put("log-max-files must be non-negative, got ");
        message.put_dec(int64_t{options.log_max_files});
        return Checked::refused_early;
    }
    if (options.log_rotate && options.log_max_files == 0) {
        return refuse_early(message,
                            "log-max-files must be at least 1 when log-rotate is enabled, got 0");
    }
    if (options.cid == nullptr) {
        return refuse_early(message, "Container ID not provided. Use --cid");
    }
    if (options.log_level_name != nullptr && !read_detail(options.log_level_name, options.detail)) {
        return refuse(message, "No such log level %", options.log_level_name);
    }
    if (options.restore != nullptr && options.exec) {
        return refuse(message, "Cannot use 'exec' and 'restore' at the same time");
    }
    if (options.exec_attach && !options.exec) {
        return refuse(message, "Attach can only be specified with exec");
    }
    if (options.exec_attach && !options.api_version) {
        return refuse(message, "Attach can only be specified for a non-legacy exec session");
    }
    if (options.cuuid == nullptr && (!options.exec || options.api_version)) {
        return refuse(message, "Container UUID not provided. Use --cuuid");
    }
    if (options.runtime == nullptr) {
        return refuse(message, "Runtime path not provided. Use --runtime");
    }
    if (sys::access(options.runtime, X_OK) != 0) {
        const int code = errno;
        refuse(message, "Runtime path % is not valid ", options.runtime);
        base::put_errno(message, code);
        return Checked::refused;
    }
    if (options.exec && options.exec_process_spec == nullptr) {
        return refuse(message, "Exec process spec path not provided. Use --exec-process-spec");
    }
    const Checked filled_in = fill_in_paths(options, paths, message);
    if (filled_in != Checked::passed) {
        return filled_in;
    }
    if (options.exit_delay_s < 0) {
        return refuse(message,
                      "Delay before invoking exit command must be greater than or equal to 0");
    }
    return add_log_paths(options, message);
}

Checked check_after_log(const Options& options, base::TextSink& message) {
    const bool is_k8s_only = options.drivers.k8s_file != nullptr && !options.drivers.journald;
    if (is_k8s_only && options.log_tag != nullptr) {
        return refuse(message, "k8s-file doesn't support --log-tag");
    }
    if (options.drivers.journald && std::string_view{options.cid}.size() < journald_id_size_min) {
        return refuse(message, "Container ID must be longer than 12 characters");
    }
    for (const ListValue& each : options.values()) {
        if (each.option != ListOption::log_label) {
            continue;
        }
        if (is_k8s_only) {
            return refuse(message, "k8s-file doesn't support --log-label");
        }
        const Checked checked =
            options.drivers.journald ? check_label(each.value, message) : Checked::passed;
        if (checked != Checked::passed) {
            return checked;
        }
    }
    return Checked::passed;
}

std::array<std::string_view, 2> warnings_about(const Options& options) {
    std::array<std::string_view, 2> warnings;
    if (options.no_container_partial_message && !options.drivers.journald) {
        warnings[0] = "--no-container-partial-message has no effect without journald log driver";
    }
    if (options.seccomp_notify_socket != nullptr || options.seccomp_notify_plugins != nullptr) {
        warnings[1] = "--seccomp-notify-socket and --seccomp-notify-plugins are not supported, "
                      "ignoring";
    }
    return warnings;
}

} // namespace cli
