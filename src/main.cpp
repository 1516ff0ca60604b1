// mote, installed as conmon: the monitor of one container. This file is its life from top to
// bottom; what each step has to do is in contract.md section 2.4, and what happens at the end is
// in monitor/epilogue.h. A program that takes the place of a running monitor skips what that one
// has done (monitor/upgrade.h).
//
// The process that the caller starts reads the options, opens the log, waits for the caller's word
// and forks; its child is the monitor. With --sync there is no fork.

#include "base/errno_text.h"
#include "cli/check.h"
#include "cli/help.h"
#include "cli/knobs.h"
#include "cli/parse.h"
#include "cli/runtime_argv.h"
#include "monitor/epilogue.h"
#include "monitor/monitor.h"
#include "monitor/upgrade.h"
#include "sys/calls.h"
#include "sys/environment.h"
#include "sys/file.h"
#include "sys/signals.h"

#include <cerrno>
#include <new>

#include <poll.h>

namespace {

using base::Result;
using base::Text;
using monitor::Lent;
using monitor::Origin;
using monitor::Outcome;
using monitor::Parent;
using monitor::ReportKey;
using sys::Diag;
using sys::Fd;
using sys::Message;
using sys::Severity;

// A place for an object that is made in main. A static object with a constructor would need a
// guard, in a page of its own.
template <typename T> class Place {
  public:
    T& make() { return *new (bytes_.data()) T; }

  private:
    alignas(T) std::array<std::byte, sizeof(T)> bytes_;
};

// What is large, or must live at one place as long as the process. Never cleared: a page of it
// costs memory once it is used.
struct Storage {
    monitor::Buffers buffers;
    alignas(monitor::page_size) std::array<const char*, cli::argv_words_max> runtime_argv;
    std::array<const char*, cli::argv_words_max> exit_argv;
    record::Journal::Storage journal;
    std::array<const char*, cli::Options::list_values_max> record_words;
    cli::DefaultPaths paths;
};

constexpr mode_t file_mask = 0022;

// The steps of main that need much stack are functions of their own and stay so (gnu::noinline): a
// buffer in main's frame would lie there for months.

[[noreturn]] void leave(int status) {
    ::_exit(status);
}

void write_text(int fd, std::string_view text) {
    (void)sys::write(fd, text.data(), text.size());
}

[[noreturn]] void refuse(Diag& diag, std::string_view text) {
    diag.error(text);
    leave(1);
}

// Options, or the end: --help, --version and mistakes go no further. A program that is to take
// another's place has --version among its options if it is only asked whether it can.
[[gnu::noinline]] void
read_options(std::span<char* const> argv, cli::Options& options, bool is_first) {
    const cli::Charset charset = cli::charset_of(sys::environment_value("LC_ALL"),
                                                 sys::environment_value("LC_CTYPE"),
                                                 sys::environment_value("LANG"));
    Text<8192> text;
    switch (cli::parse(argv, charset, options, text)) {
    case cli::Parsed::options:
        return;
    case cli::Parsed::help:
        cli::put_help(text, options.program, charset);
        write_text(STDOUT_FILENO, text.view());
        leave(0);
    case cli::Parsed::version:
        if (!is_first) {
            return;
        }
        cli::put_version(text);
        write_text(STDOUT_FILENO, text.view());
        leave(0);
    case cli::Parsed::refused:
        write_text(STDERR_FILENO, "conmon: option parsing failed: ");
        write_text(STDERR_FILENO, text.put('\n').view());
        leave(1);
    }
}

void configure(Diag& diag, const cli::Options& options, sys::Zone& zone, base::TextSink& subject) {
    subject.put(options.cid);
    if (options.log_tag != nullptr) {
        subject.put(": ").put(options.log_tag);
    }
    diag.configure({.detail = static_cast<Severity>(options.detail),
                    .program = options.program,
                    .subject = subject.view(),
                    .to_syslog = options.syslog,
                    .zone = &zone});
}

[[gnu::noinline]] void check_options_before_log(cli::Options& options,
                                                cli::DefaultPaths& paths,
                                                sys::Zone& zone,
                                                base::TextSink& subject,
                                                Diag& diag) {
    Message message;
    const cli::Checked checked = cli::check_before_log(options, paths, message);
    if (checked == cli::Checked::refused_early) {
        write_text(STDERR_FILENO, "conmon: ");
        write_text(STDERR_FILENO, message.put('\n').view());
        leave(1);
    }
    configure(diag, options, zone, subject);
    if (checked == cli::Checked::refused) {
        refuse(diag, message.view());
    }
}

[[gnu::noinline]] void check_options_after_log(const cli::Options& options, Diag& diag) {
    Message message;
    if (cli::check_after_log(options, message) != cli::Checked::passed) {
        refuse(diag, message.view());
    }
    for (const std::string_view warning : cli::warnings_about(options)) {
        if (!warning.empty()) {
            diag.warning(warning);
        }
    }
}

// Gathers the values of a list option at the front of `words`, which they leave to the next one.
std::span<const char* const>
take_values(const cli::Options& options, cli::ListOption which, std::span<const char*>& words) {
    size_t count = 0;
    for (const cli::ListValue& each : options.values()) {
        if (each.option == which) {
            words[count++] = each.value;
        }
    }
    const std::span<const char*> taken = words.first(count);
    words = words.subspan(count);
    return taken;
}

std::string_view text_or_none(const char* text) {
    return text == nullptr ? std::string_view{} : std::string_view{text};
}

// How the output is recorded. The words are the storage of lists.
record::Recorder::Settings
choose_records(const cli::Options& options, const cli::Knobs& knobs, std::span<const char*> words) {
    return {
        .k8s_file = {.name = {.path = options.drivers.k8s_file,
                              .allowed_directories =
                                  take_values(options, cli::ListOption::log_allowlist_dir, words)},
                     .size_max = options.log_size_max,
                     .global_size_max = options.log_global_size_max,
                     .backups = options.log_rotate ? options.log_max_files : 0},
        .journal = {.is_on = options.drivers.journald,
                    .id = options.cid,
                    .name = text_or_none(options.name),
                    .tag = text_or_none(options.log_tag),
                    .labels = take_values(options, cli::ListOption::log_label, words),
                    .name_space = knobs.journal_namespace,
                    .marks_parts = !options.no_container_partial_message,
                    .counts_records = options.drivers.k8s_file == nullptr},
        .rate = {.bytes_per_second = knobs.log_rate,
                 .burst = knobs.log_burst,
                 .excess = static_cast<record::Excess>(knobs.log_excess)},
        .stamps_utc = knobs.log_utc != 0,
        .record_max = knobs.log_record_max,
    };
}

[[gnu::noinline]] void open_log(record::Recorder& recorder, Diag& diag) {
    if (const auto opened = recorder.open(); !opened) {
        Message message;
        message.put("Failed to open log file ");
        base::put_errno(message, opened.error().code);
        refuse(diag, message.view());
    }
}

[[gnu::noinline]] cli::Knobs read_knobs(char** environment, Diag& diag) {
    cli::Knobs knobs;
    for (; *environment != nullptr; ++environment) {
        Message warning;
        if (!cli::take_knob(*environment, knobs, warning)) {
            diag.warning(warning.view());
        }
    }
    return knobs;
}

[[gnu::noinline]] Fd open_start_pipe(Diag& diag) {
    Message why;
    Fd pipe;
    if (monitor::take_lent_fd("_OCI_STARTPIPE", pipe, why) == Lent::refused) {
        refuse(diag, why.view());
    }
    if (pipe.number() == 0) {
        (void)pipe.release(); // conmon takes 0 as none
    }
    return pipe;
}

// Until the caller says so on the start pipe, nothing is started: it may be moving us to a cgroup.
// Signals that come meanwhile have their ordinary effect, except that TERM is an exit.
[[gnu::noinline]] void
await_start(const Fd& start_pipe, const Fd& signals, const Origin& origin, Diag& diag) {
    for (;;) {
        std::array<pollfd, 2> waiting{{
            {.fd = start_pipe.number(), .events = POLLIN, .revents = 0},
            {.fd = signals.number(), .events = POLLIN, .revents = 0},
        }};
        if (sys::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) {
            refuse(diag, "Failed to wait for the start pipe");
        }
        if (waiting[1].revents != 0) {
            if (const auto signal = sys::next_signal(signals)) {
                if (*signal == SIGTERM) {
                    leave(1);
                }
                sys::let_through(*signal, origin.signal_mask);
            }
        }
        if (waiting[0].revents != 0) {
            break;
        }
    }
    std::array<std::byte, 8192> word;
    if (sys::read(start_pipe.number(), word.data(), word.size()) < 0) {
        refuse(diag, "start-pipe read failed");
    }
}

ReportKey report_key(const cli::Options& options) {
    if (options.api_version) {
        return ReportKey::data;
    }
    return options.exec ? ReportKey::exit_code : ReportKey::pid;
}

[[gnu::noinline]] void open_sync_pipe(Parent& parent, Diag& diag) {
    Message why;
    Fd pipe;
    if (monitor::take_lent_fd("_OCI_SYNCPIPE", pipe, why) == Lent::refused) {
        refuse(diag, why.view());
    }
    parent.use_sync_pipe(std::move(pipe));
}

// A start that fails after the fork is told to the caller on the sync pipe too.
[[noreturn]] void refuse_start(Parent& parent, Diag& diag, std::string_view text) {
    parent.report(-1, text);
    refuse(diag, text);
}

// The first process: it leaves the monitor's pid where the caller looks for it, and is gone. When
// it cannot, there must be no monitor that nobody knows of.
[[noreturn]] void leave_monitor(pid_t pid, const cli::Options& options, Diag& diag) {
    if (options.conmon_pidfile != nullptr) {
        Text<16> content;
        content.put_dec(pid);
        if (const auto written = sys::write_atomically(options.conmon_pidfile, content.view());
            !written) {
            (void)sys::kill(pid, SIGKILL);
            sys::wait_for(pid);
            Message message;
            message.put("Failed to write conmon pidfile: ").put(options.conmon_pidfile).put(": ");
            base::put_errno(message, written.error().code);
            Parent parent{report_key(options), diag};
            open_sync_pipe(parent, diag);
            refuse_start(parent, diag, message.view());
        }
    }
    leave(0);
}

// Gives what ends when the first process has left our pid, or could not and is about to kill us, so
// that nothing is started for a caller who is told that there is no monitor. (It ends too when the
// first process is killed; then we go on.)
[[gnu::noinline]] Fd become_monitor(const cli::Options& options, Diag& diag) {
    if (options.sync) {
        return {};
    }
    sys::Pipe word;
    if (options.conmon_pidfile != nullptr) {
        Result<sys::Pipe> pipe = sys::make_pipe(0);
        if (!pipe) {
            refuse(diag, "Failed to create a pipe");
        }
        word = std::move(*pipe);
    }
    const pid_t pid = sys::fork();
    if (pid < 0) {
        Message message;
        message.put("Failed to create child process ");
        base::put_errno(message, errno);
        refuse(diag, message.view());
    }
    if (pid != 0) {
        leave_monitor(pid, options, diag);
    }
    return std::move(word.read_end);
}

void await_pidfile(Fd end_of_first) {
    std::byte nothing;
    while (end_of_first.valid() && sys::read(end_of_first.number(), &nothing, 1) < 0 &&
           errno == EINTR) {
    }
}

[[gnu::noinline]] void open_attach_pipe(const cli::Options& options, Parent& parent, Diag& diag) {
    if (!options.exec_attach) {
        return;
    }
    Message why;
    Fd pipe;
    switch (monitor::take_lent_fd("_OCI_ATTACHPIPE", pipe, why)) {
    case Lent::given:
        parent.use_attach_pipe(std::move(pipe));
        return;
    case Lent::absent:
        // conmon prints errno here, which nothing has set.
        why.put("--attach specified but _OCI_ATTACHPIPE was not Success");
        break;
    case Lent::refused:
        break;
    }
    refuse_start(parent, diag, why.view());
}

// From here on the caller sees the end of the streams that it gave us.
[[gnu::noinline]] void detach_from_caller(const cli::Options& options, Parent& parent, Diag& diag) {
    if (!options.drivers.passthrough) {
        if (const auto detached = sys::put_null_at_stdio(); !detached) {
            refuse_start(parent, diag, "Failed to open /dev/null");
        }
        diag.leave_standard_error();
    }
    (void)sys::setsid(); // fails for the leader of a group, as after --sync, which is one already
    sys::set_subreaper(true);
}

// What the steps before make, from the program that was here before us, or only an answer to it.
[[gnu::noinline]] void
take_over(monitor::Monitor& monitor, Fd signals, bool is_only_asked, Diag& diag) {
    const bool is_taken = monitor.take_over(std::move(signals), is_only_asked);
    if (is_only_asked) {
        leave(is_taken ? monitor::can_read_state : 1);
    }
    if (!is_taken) {
        refuse(diag, "Failed to read the state");
    }
    (void)sys::put_null_at_stdio();
    diag.say(Severity::info, "Upgraded to mote " MOTE_VERSION);
}

} // namespace

int main(int argc, char** argv, char** environment) {
    static Storage storage;
    static monitor::Counters counters;
    // Apart from the storage, to share a page with the C library's variables (scripts/resident.ld).
    static Place<cli::Options> options_place;
    cli::Options& options = options_place.make();

    // Nothing of ours gets the number of a standard stream. Signals are read, never handled; files
    // get ordinary modes.
    sys::occupy_stdio();
    Origin origin{.signal_mask = sys::block_signals(),
                  .arguments = argv,
                  .environment = environment,
                  .oom_score_adjustment = {}};
    (void)sys::umask(file_mask);

    // Is this the beginning, or are we to take the place of a monitor that runs?
    const bool is_first = !monitor::has_state(origin);

    // What are we asked to do? Mistakes are told to the caller, who is waiting for us to exit.
    Diag diag;
    sys::Zone zone = sys::Zone::create(sys::environment_value("TZ"));
    Text<64> subject;
    read_options({argv, static_cast<size_t>(argc)}, options, is_first);
    check_options_before_log(options, storage.paths, zone, subject, diag);

    // The log is opened now, so that this too can be told.
    const cli::Knobs knobs = read_knobs(environment, diag);
    record::Recorder recorder{choose_records(options, knobs, storage.record_words),
                              storage.buffers.ring,
                              storage.journal,
                              zone,
                              counters.records,
                              diag};
    if (is_first) {
        open_log(recorder, diag);
        check_options_after_log(options, diag);
    }

    // Nothing is started before the caller says so.
    Result<Fd> signals = sys::open_signal_fd();
    if (!signals) {
        refuse(diag, "Failed to create signalfd");
    }
    Fd start_pipe = is_first ? open_start_pipe(diag) : Fd{};
    if (start_pipe.valid()) {
        await_start(start_pipe, *signals, origin, diag);
    }

    // The monitor is born; the first process is done.
    Fd end_of_first = is_first ? become_monitor(options, diag) : Fd{};
    Parent parent{report_key(options), diag};
    if (is_first) {
        open_sync_pipe(parent, diag);
    }
    Result<sys::Poller> poller = sys::Poller::create();
    if (!poller) {
        refuse_start(parent, diag, "Failed to create epoll");
    }
    monitor::Monitor monitor{
        options,
        {.attach_stall_ms = knobs.attach_stall_ms, .leaves_account = knobs.state != 0},
        origin,
        storage.buffers,
        *poller,
        recorder,
        counters,
        parent,
        diag};
    const auto give_up = [&] {
        monitor::end(monitor, options, Outcome{}, origin, {}, recorder, parent, diag);
    };
    if (is_first) {
        if (!monitor.open_notify_relay()) {
            give_up();
        }
        open_attach_pipe(options, parent, diag);
        detach_from_caller(options, parent, diag);

        // Streams, sockets and fifos are there before the runtime is.
        if (!monitor.prepare(std::move(*signals))) {
            give_up();
        }
        await_pidfile(std::move(end_of_first));
        parent.announce_sockets();
        if (options.exec_attach && start_pipe.valid()) {
            monitor.wait_for(std::move(start_pipe));
        }
        start_pipe.reset();
    } else {
        take_over(monitor, std::move(*signals), options.version, diag);
    }
    if (!monitor.runtime_was_started()) {
        const bool fits =
            cli::put_runtime_argv(options, monitor.console_socket(), storage.runtime_argv);
        CHECK(fits);
    }

    // The container's life, and what is left to do after it.
    const Outcome outcome = monitor.run(storage.runtime_argv);
    std::span<const char*> exit_argv;
    if (options.exit_command != nullptr) {
        CHECK(cli::put_exit_argv(options, storage.exit_argv));
        exit_argv = storage.exit_argv;
    }
    monitor::end(monitor, options, outcome, origin, exit_argv, recorder, parent, diag);
}
