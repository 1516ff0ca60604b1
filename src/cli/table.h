// The table of options: one row each, for the parser and for --help. It is written with
// string_views, which hold pointers, and packed at compile time into offsets into one text: a
// table of pointers needs relocations, and those make its pages private memory of every process.
#pragma once

#include "cli/options.h"

#include <array>
#include <string_view>

namespace cli {

enum class Kind : uint8_t { flag, text, number, size, list };

// Where the value of an option goes: the member of Options that `kind` names.
struct Place {
    union {
        bool Options::* flag;
        const char* Options::* text;
        int32_t Options::* number;
        int64_t Options::* size;
        ListOption list;
    };
    Kind kind;

    consteval Place() : Place{&Options::version} {}
    // Implicit, so that a row names just the member.
    consteval Place(bool Options::* member) : flag{member}, kind{Kind::flag} {}
    consteval Place(const char* Options::* member) : text{member}, kind{Kind::text} {}
    consteval Place(int32_t Options::* member) : number{member}, kind{Kind::number} {}
    consteval Place(int64_t Options::* member) : size{member}, kind{Kind::size} {}
    consteval Place(ListOption option) : list{option}, kind{Kind::list} {}
};

struct Row {
    std::string_view name;
    char letter; // 0: the option has no short form
    Place place;
    std::string_view description; // empty: the option is hidden, --help does not show it
};

// Names, letters and kinds are conmon's (contract.md 1.4), and so is the order in --help.
consteval auto rows() {
    using O = Options;
    using enum ListOption;
    return std::to_array<Row>({
        {"api-version", 0, &O::api_version, "Use the API that reports with the key \"data\""},
        {"bundle", 'b', &O::bundle, "Directory of the OCI bundle"},
        {"cid", 'c', &O::cid, "ID of the container"},
        {"conmon-pidfile", 'P', &O::conmon_pidfile, "File for the pid of the monitor"},
        {"container-pidfile", 'p', &O::container_pidfile, "File for the pid of the container"},
        {"cuuid", 'u', &O::cuuid, "UUID of the container or of the exec session"},
        {"exec", 'e', &O::exec, "Run a command in a running container"},
        {"exec-attach", 0, &O::exec_attach, "Attach to the exec session"},
        {"exec-process-spec", 0, &O::exec_process_spec, "File that describes the command"},
        {"exit-command", 0, &O::exit_command, "Program to run when the container has ended"},
        {"exit-command-arg", 0, exit_command_arg, "Argument of the exit command (repeatable)"},
        {"exit-delay", 0, &O::exit_delay_s, "Seconds to wait before the exit command"},
        {"exit-dir", 0, &O::exit_dir, "Directory for the file with the exit status"},
        {"leave-stdin-open", 0, &O::leave_stdin_open, "Keep stdin open when clients leave"},
        {"log-level", 0, &O::log_level_name, "error, warning (default), info, debug or trace"},
        {"log-path", 'l', log_path, "[k8s-file:]PATH, journald, none or passthrough (repeatable)"},
        {"log-size-max", 0, &O::log_size_max, "Bytes after which the log starts anew"},
        {"log-global-size-max", 0, &O::log_global_size_max, "Bytes that are logged at most"},
        {"log-tag", 0, &O::log_tag, "Tag of the records in journald"},
        {"log-label", 0, log_label, "LABEL=VALUE for the records in journald (repeatable)"},
        {"no-container-partial-message",
         0,
         &O::no_container_partial_message,
         "Do not mark partial lines in journald"},
        {"name", 'n', &O::name, "Name of the container"},
        {"no-new-keyring", 0, &O::no_new_keyring, "Passed to the runtime"},
        {"no-pivot", 0, &O::no_pivot, "Passed to the runtime"},
        {"no-sync-log", 0, &O::no_sync_log, "Do not sync the log to disk at the end"},
        {"persist-dir", '0', &O::persist_dir, "Directory for exit and oom files that stay"},
        {"pidfile", 0, &O::container_pidfile, ""},
        {"replace-listen-pid", 0, &O::replace_listen_pid, "Set LISTEN_PID for the runtime"},
        {"restore", 0, &O::restore, "Restore the container from this checkpoint"},
        {"restore-arg", 0, runtime_opt, ""},
        {"runtime", 'r', &O::runtime, "Path of the OCI runtime"},
        {"runtime-arg", 0, runtime_arg, "Argument of the runtime (repeatable)"},
        {"runtime-opt", 0, runtime_opt, "Argument of the runtime's command (repeatable)"},
        {"sdnotify-socket", 0, &O::sdnotify_socket, "Socket of the host's service manager"},
        {"socket-dir-path", 0, &O::socket_dir_path, "Directory for links to attach sockets"},
        {"stdin", 'i', &O::stdin_pipe, "Give the container a pipe as stdin"},
        {"sync", 0, &O::sync, "Do not fork: be the monitor"},
        {"syslog", 0, &O::syslog, "Send diagnostics to syslog too"},
        {"systemd-cgroup", 's', &O::systemd_cgroup, "Passed to the runtime"},
        {"terminal", 't', &O::terminal, "Give the container a terminal"},
        {"timeout", 'T', &O::timeout_s, "Seconds after which the container is killed"},
        {"version", 0, &O::version, "Show the version"},
        {"full-attach", 0, &O::full_attach, "Put the attach socket into the bundle"},
        {"log-rotate", 0, &O::log_rotate, "Keep old logs as backups"},
        {"log-max-files", 0, &O::log_max_files, "Number of backups (default: 1)"},
        {"log-allowlist-dir", 0, log_allowlist_dir, "Directory that may hold logs (repeatable)"},
        {"seccomp-notify-socket", 0, &O::seccomp_notify_socket, ""},
        {"seccomp-notify-plugins", 0, &O::seccomp_notify_plugins, ""},
    });
}

struct Entry {
    [[no_unique_address]] Place place;
    uint16_t text_at; // the name, followed by the description
    uint8_t name_size;
    uint8_t description_size; // 0: hidden
    char letter;
};
static_assert(sizeof(Entry) <= 16);

consteval size_t table_text_size() {
    size_t size = 0;
    for (const Row& row : rows()) {
        size += row.name.size() + row.description.size();
    }
    return size;
}

struct Table {
    std::array<Entry, rows().size()> entries{};
    std::array<char, table_text_size()> text{};

    [[nodiscard]] constexpr std::string_view name_of(const Entry& entry) const {
        return {text.data() + entry.text_at, entry.name_size};
    }

    [[nodiscard]] constexpr std::string_view description_of(const Entry& entry) const {
        return {text.data() + entry.text_at + entry.name_size, entry.description_size};
    }
};

consteval Table packed_table() {
    Table packed;
    size_t text_size = 0;
    size_t number = 0;
    for (const Row& row : rows()) {
        Entry& entry = packed.entries[number++];
        entry.place = row.place;
        entry.letter = row.letter;
        entry.text_at = static_cast<uint16_t>(text_size);
        entry.name_size = static_cast<uint8_t>(row.name.size());
        entry.description_size = static_cast<uint8_t>(row.description.size());
        for (const std::string_view part : {row.name, row.description}) {
            for (const char one : part) {
                packed.text[text_size++] = one;
            }
        }
    }
    return packed;
}

inline constexpr Table table = packed_table();

} // namespace cli
