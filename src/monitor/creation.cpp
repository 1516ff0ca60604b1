// The first half of the monitor's life: what it makes before the runtime starts, the runtime
// itself, and what is told to the caller when that goes wrong. None of this code runs any more once
// the container does, which is why it has a file of its own (see sys/memory.h).

#include "base/errno_text.h"
#include "base/scan.h"
#include "monitor/attach_link.h"
#include "monitor/monitor.h"
#include "sys/calls.h"
#include "sys/environment.h"
#include "sys/file.h"

#include <algorithm>
#include <cerrno>

namespace monitor {

using base::Bytes;
using base::Error;
using base::Result;
using record::Stream;
using sys::Child;
using sys::ExitStatus;
using sys::Fd;
using sys::Instant;
using sys::Message;
using sys::Source;
using sys::Watch;

namespace {

// A process in the container may run as anybody and reopen its standard streams by name.
constexpr mode_t pipe_mode = 0777;

// The index of LISTEN_PID in the environment.
std::optional<size_t> find_listen_pid(char** environment) {
    constexpr std::string_view name = "LISTEN_PID=";
    for (size_t i = 0; environment[i] != nullptr; ++i) {
        const std::string_view entry{environment[i]};
        if (entry.size() >= name.size() && std::string_view{entry.data(), name.size()} == name) {
            return i;
        }
    }
    return std::nullopt;
}

std::string_view value_of(const char* entry) {
    return *base::split_once(entry, '=').tail;
}

// The kernel is to kill anybody but us. The runtime has been started with what the caller had, and
// the exit command gets that back.
void protect_from_oom_killer(Origin& origin, sys::Diag& diag) {
    constexpr std::string_view protects = "-1000";
    Result<Fd> score =
        sys::open_at(sys::working_directory(), "/proc/self/oom_score_adj", O_RDWR, 0, "open");
    if (!score) {
        diag.debug("Failed to set the oom_score_adj, ignoring", score.error());
        return;
    }
    std::array<char, 16> old;
    const ssize_t size = sys::read(score->number(), old.data(), old.size());
    if (sys::pwrite(score->number(), protects.data(), protects.size(), 0) < 0) {
        diag.debug("Failed to set the oom_score_adj, ignoring", {.code = errno, .call = "write"});
        return;
    }
    if (size > 0) {
        origin.oom_score_adjustment.put({old.data(), static_cast<size_t>(size)});
    }
}

} // namespace

Monitor::Monitor(const cli::Options& options,
                 const Limits& limits,
                 Origin& origin,
                 Buffers& buffers,
                 sys::Poller& poller,
                 record::Recorder& recorder,
                 Counters& counters,
                 Parent& parent,
                 sys::Diag& diag)
    : options_{options}, origin_{origin}, poller_{poller}, diag_{diag}, recorder_{recorder},
      counters_{counters}, buffers_{buffers}, parent_{parent},
      input_{poller,
             diag,
             buffers.input,
             options.stdin_pipe && !options.leave_stdin_open ? EndOfInput::closes_stdin
                                                             : EndOfInput::ignored},
      clients_{poller, diag, counters, input_, limits.attach_stall_ms},
      output_{poller, diag, recorder, clients_, buffers, counters}, console_{poller, diag},
      control_{poller, diag},
      oom_watch_{poller, diag, counters, options.persist_dir, options.bundle},
      notify_relay_{poller, diag, buffers.notify, buffers.notices},
      leaves_account_{limits.leaves_account} {}

bool Monitor::prepare(Fd signal_fd) {
    return watch_signals(std::move(signal_fd)) && prepare_streams() && prepare_sockets();
}

bool Monitor::watch_signals(Fd signal_fd) {
    signals_ = Watch{poller_, Source::signals, 0, std::move(signal_fd)};
    if (const auto watched = signals_.want(EPOLLIN); !watched) {
        return fail("Failed to watch signals", nullptr, watched.error());
    }
    return true;
}

bool Monitor::prepare_streams() {
    const bool passes_through = options_.drivers.passthrough;
    if (uses_terminal()) {
        const char* const directory = sys::environment_value("TMPDIR");
        const char* const place = directory != nullptr && directory[0] != '\0' ? directory : "/tmp";
        if (const auto listening = console_.listen(place); !listening) {
            return fail("Failed to make the console socket in ", place, listening.error());
        }
        input_.expect_destination();
    } else if (!passes_through) {
        if (options_.stdin_pipe && !make_stdin()) {
            return false;
        }
        if (!make_output(Stream::standard_output, runtime_stdout_)) {
            return false;
        }
    }
    return passes_through || make_output(Stream::standard_error, runtime_stderr_);
}

bool Monitor::make_stdin() {
    Result<sys::Pipe> pipe = sys::make_pipe(0);
    if (!pipe) {
        return fail("Failed to make the standard input of ", options_.cid, pipe.error());
    }
    (void)sys::fchmod(pipe->read_end.number(), pipe_mode);
    if (const auto set = sys::set_only_nonblocking(pipe->write_end); !set) {
        return fail("Failed to make the standard input of ", options_.cid, set.error());
    }
    runtime_stdin_ = std::move(pipe->read_end);
    input_.use(std::move(pipe->write_end));
    return true;
}

bool Monitor::make_output(Stream stream, Fd& runtime_end) {
    Result<sys::Pipe> pipe = sys::make_pipe(0);
    Result<void> done{};
    if (pipe) {
        (void)sys::fchmod(pipe->write_end.number(), pipe_mode);
        done = sys::set_only_nonblocking(pipe->read_end);
    } else {
        done = base::Failure{pipe.error()};
    }
    if (done) {
        runtime_end = std::move(pipe->write_end);
        done = output_.use(stream, std::move(pipe->read_end));
    }
    return done ? true : fail("Failed to make the output pipe of ", options_.cid, done.error());
}

bool Monitor::prepare_sockets() {
    if (options_.bundle == nullptr || options_.drivers.passthrough) {
        return true;
    }
    const Result<Fd> bundle = sys::open_at(
        sys::working_directory(), options_.bundle, O_PATH | O_DIRECTORY, 0, "open directory");
    if (!bundle) {
        return fail("Failed to open the bundle ", options_.bundle, bundle.error());
    }
    if (const auto linked = make_attach_link(options_); !linked) {
        return fail("Failed to make the attach link in ", options_.socket_dir_path, linked.error());
    }
    if (const auto listening = clients_.listen(*bundle); !listening) {
        return fail("Failed to make the attach socket in ", options_.bundle, listening.error());
    }
    if (const auto opened = control_.open_control(*bundle); !opened) {
        return fail("Failed to make the fifo ctl in ", options_.bundle, opened.error());
    }
    if (const auto opened = control_.open_window_size(*bundle); !opened) {
        return fail("Failed to make the fifo winsz in ", options_.bundle, opened.error());
    }
    return true;
}

bool Monitor::open_notify_relay() {
    if (options_.sdnotify_socket == nullptr || options_.bundle == nullptr) {
        return true;
    }
    if (const auto opened = notify_relay_.open(options_.bundle, options_.sdnotify_socket);
        !opened) {
        return fail("Failed to bind the notify socket in ", options_.bundle, opened.error());
    }
    return true;
}

void Monitor::wait_for(Fd start_pipe) {
    start_pipe_ = Watch{poller_, Source::start_pipe, 0, std::move(start_pipe)};
}

void Monitor::on_start_pipe() {
    if (phase_ != Phase::creating) {
        return; // a signal in the same turn has ended it
    }
    // Data and the end are the same word: go on. It is read so that the caller's write succeeds.
    std::array<std::byte, 64> word;
    (void)sys::read(start_pipe_.fd().number(), word.data(), word.size());
    start_pipe_.close();
    start_runtime();
}

void Monitor::start_runtime() {
    const auto listen_pid = find_listen_pid(origin_.environment);
    bool replaces_listen_pid = false;
    if (listen_pid) {
        runtime_started_ = true;
        const std::string_view value = value_of(origin_.environment[*listen_pid]);
        const auto pid = base::parse_pid(value);
        if (!pid) {
            Message words;
            words.put("[conmon:e]: Invalid LISTEN_PID ");
            // conmon prints errno here, which strtol has left at 0.
            words.put({value.data(), std::min<size_t>(value.size(), 10)}).put(" Success\n");
            fail_with(words.view());
            return;
        }
        replaces_listen_pid = options_.replace_listen_pid || *pid == sys::getpid();
    }
    const sys::SpawnPlan plan{
        .path = options_.runtime,
        .arguments = runtime_argv_.data(),
        .environment = origin_.environment,
        .standard_input = runtime_stdin_,
        .standard_output = runtime_stdout_,
        .standard_error = runtime_stderr_,
        .signal_mask = &origin_.signal_mask,
        .dies_with_parent = true,
        .oom_score_adjustment = {},
        .listen_pid_index = replaces_listen_pid ? listen_pid : std::nullopt,
    };
    runtime_started_ = true;
    Result<Child> runtime = sys::spawn(plan);
    runtime_stdin_.reset();
    runtime_stdout_.reset();
    runtime_stderr_.reset();
    if (options_.drivers.passthrough) {
        // Ours must not keep the caller's streams from ending.
        (void)sys::put_null_at_stdio();
    }
    if (!runtime) {
        fail("Failed to run the runtime ", options_.runtime, runtime.error());
        return;
    }
    runtime_ = std::move(*runtime);
    protect_from_oom_killer(origin_, diag_);
    Fd pidfd = runtime_.take_pidfd();
    if (pidfd.valid()) { // without one, SIGCHLD tells
        runtime_watch_ = Watch{poller_, Source::runtime, 0, std::move(pidfd)};
        (void)runtime_watch_.want(EPOLLIN);
    }
}

void Monitor::on_runtime_ended(Instant now) {
    const auto status = runtime_.reap(runtime_watch_.fd());
    if (!status) {
        return;
    }
    runtime_watch_.close();
    output_.collect_last_words(now);
    // The terminal may be on its way in this very turn.
    console_.on_listener_ready();
    on_console();
    if (phase_ != Phase::creating) {
        return; // the terminal is of no use
    }
    if (!status->succeeded()) {
        tell_runtime_failure(*status);
        return;
    }
    if (uses_terminal() && !console_.has_terminal()) {
        fail_with("Runtime did not set up terminal");
        return;
    }
    std::array<std::byte, 64> buffer;
    const Result<Bytes> content = sys::read_small(options_.container_pidfile, buffer);
    if (!content) {
        tell_missing_pid(content.error());
        return;
    }
    const auto pid = base::parse_pid(base::text_of(*content));
    if (!pid) {
        tell_missing_pid({.code = EINVAL, .call = "parse"});
        return;
    }
    begin_running(*pid, now);
}

// What the runtime said is what the caller is told; a silent one must be named at least.
void Monitor::tell_runtime_failure(ExitStatus status) {
    const std::string_view words = output_.last_words();
    if (!words.empty()) {
        fail_with(words);
        return;
    }
    Message message;
    message.put("Runtime ").put(options_.runtime);
    if (status.kind == ExitStatus::Kind::signalled) {
        message.put(" was killed by signal ").put_dec(status.value);
    } else {
        message.put(" failed with exit status ").put_dec(status.value);
    }
    fail_with(message.view());
}

void Monitor::tell_missing_pid(const Error& error) {
    const std::string_view words = output_.last_words();
    if (!words.empty()) {
        fail_with(words);
        return;
    }
    // GLib's words, which conmon passes on.
    Message message;
    message.put("Failed to ").put(error.call).put(" file \u201c");
    message.put(options_.container_pidfile).put("\u201d: ");
    base::put_errno(message, error.code);
    fail_with(message.view());
}

bool Monitor::fail(std::string_view what, const char* object, const Error& error) {
    Message message;
    message.put(what);
    if (object != nullptr) {
        message.put(object);
    }
    message.put(": ").put(error.call).put(": ");
    base::put_errno(message, error.code);
    fail_with(message.view());
    return false;
}

void Monitor::fail_with(std::string_view words) {
    parent_.report(-1, words);
    diag_.error(words);
    outcome_ = {.kind = Outcome::Kind::failed, .status = {}};
    enter(Phase::done);
}

void Monitor::begin_running(pid_t pid, Instant now) {
    container_ = Child::of_pid(pid);
    Fd pidfd = container_.take_pidfd();
    if (pidfd.valid()) {
        container_watch_ = Watch{poller_, Source::container, 0, std::move(pidfd)};
        if (!container_watch_.want(EPOLLIN)) {
            container_watch_.close(); // asked for instead, as if there were no such descriptors
        }
    }
    if (options_.api_version || !options_.exec) {
        // An old caller of exec reads one value, and that is the exit code.
        parent_.report(pid);
    }
    (void)sys::reap_others(pid); // who ended meanwhile
    oom_watch_.start(pid);
    if (options_.timeout_s > 0) {
        timeout_at_ = now + Instant{options_.timeout_s} * 1000;
    }
    enter(Phase::running);
    clients_.accept_waiting(now);
    output_.start(now);
    if (!container_watch_.valid()) {
        container_poll_at_ = now; // SIGCHLD tells, if the container is our child
    }
}

void Monitor::on_console() {
    std::optional<Fd> terminal = console_.on_sender_ready();
    if (!terminal) {
        return;
    }
    // Two descriptors: input and output are watched, and end, apart.
    Fd copy{sys::fcntl(terminal->number(), F_DUPFD_CLOEXEC, 3)};
    Result<void> used{};
    if (copy.valid()) {
        console_.adopt(*terminal);
        used = output_.use(Stream::standard_output, std::move(*terminal));
    } else {
        used = base::fail(errno, "duplicate descriptor");
    }
    if (!used && used.error().code == EPERM) {
        diag_.warning("Failed to use the terminal"); // it is none, which conmon bears too
        return;
    }
    if (!used) {
        // A container whose terminal nobody reads would only stand still.
        fail("Failed to use the terminal", nullptr, used.error());
        return;
    }
    input_.use(std::move(copy));
}

} // namespace monitor
