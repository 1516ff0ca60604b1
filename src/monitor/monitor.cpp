#include "monitor/monitor.h"

#include "base/errno_text.h"
#include "base/scan.h"
#include "monitor/attach_link.h"
#include "sys/calls.h"
#include "sys/file.h"
#include "sys/signals.h"

#include <algorithm>
#include <cerrno>

#include <stdlib.h>

namespace monitor {

using base::Bytes;
using base::Error;
using base::Result;
using record::Stream;
using sys::Child;
using sys::Event;
using sys::ExitStatus;
using sys::Fd;
using sys::Instant;
using sys::Message;
using sys::Source;
using sys::Watch;

namespace {

// A process in the container may run as anybody and reopen its standard streams by name.
constexpr mode_t pipe_mode = 0777;

constexpr int signals_max = 64; // in a turn

// How often a container that no descriptor tells about is asked for.
constexpr Instant container_poll_ms = 1000;

std::string_view name_of(Phase phase) {
    switch (phase) {
    case Phase::creating:
        return "creating";
    case Phase::running:
        return "running";
    case Phase::draining:
        return "draining";
    case Phase::done:
        return "done";
    }
    return {};
}

// The pid in a pid file, as atoi reads it: blanks in front and anything behind are ignored.
std::optional<pid_t> parse_pid(std::string_view text) {
    while (!text.empty() && (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))) {
        text.remove_prefix(1);
    }
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
        ++digits;
    }
    const auto pid = base::parse_int<pid_t>(std::string_view{text.data(), digits});
    return pid && *pid > 0 ? pid : std::nullopt;
}

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

} // namespace

Monitor::Monitor(const cli::Options& options,
                 const Limits& limits,
                 Origin& origin,
                 Buffers& buffers,
                 sys::Poller& poller,
                 record::Recorder& recorder,
                 Parent& parent,
                 sys::Diag& diag)
    : options_{options}, origin_{origin}, poller_{poller}, diag_{diag}, recorder_{recorder},
      parent_{parent},
      input_{poller,
             diag,
             buffers.input,
             options.stdin_pipe && !options.leave_stdin_open ? EndOfInput::closes_stdin
                                                             : EndOfInput::ignored},
      clients_{poller, diag, input_, limits.attach_stall_ms},
      output_{poller, diag, recorder, clients_, buffers}, console_{poller, diag},
      control_{poller, diag}, oom_watch_{poller, diag, options.persist_dir, options.bundle},
      notify_relay_{poller, diag}, notify_buffer_{buffers.notify} {}

bool Monitor::prepare(Fd signal_fd) {
    signals_ = Watch{poller_, Source::signals, 0, std::move(signal_fd)};
    if (const auto watched = signals_.want(EPOLLIN); !watched) {
        return fail("Failed to watch signals", nullptr, watched.error());
    }
    return prepare_streams() && prepare_sockets();
}

bool Monitor::prepare_streams() {
    if (options_.drivers.passthrough) {
        return true;
    }
    if (uses_terminal()) {
        const char* const directory = ::getenv("TMPDIR");
        const char* const place = directory != nullptr && directory[0] != '\0' ? directory : "/tmp";
        if (const auto listening = console_.listen(place); !listening) {
            return fail("Failed to make the console socket in ", place, listening.error());
        }
        input_.expect_destination();
    } else {
        if (options_.stdin_pipe && !make_stdin()) {
            return false;
        }
        if (!make_output(Stream::standard_output, runtime_stdout_)) {
            return false;
        }
    }
    return make_output(Stream::standard_error, runtime_stderr_);
}

bool Monitor::make_stdin() {
    Result<sys::Pipe> pipe = sys::make_pipe(0);
    if (!pipe) {
        return fail("Failed to make the standard input of ", options_.cid, pipe.error());
    }
    (void)sys::fchmod(pipe->read_end.number(), pipe_mode);
    if (const auto set = sys::set_nonblocking(pipe->write_end); !set) {
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
        done = sys::set_nonblocking(pipe->read_end);
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
    if (const auto opened = control_.open(*bundle); !opened) {
        return fail("Failed to make the control fifos in ", options_.bundle, opened.error());
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

Outcome Monitor::run(std::span<const char*> runtime_argv) {
    runtime_argv_ = runtime_argv;
    if (start_pipe_.valid()) {
        if (!start_pipe_.want(EPOLLIN)) {
            start_pipe_.close(); // not a pipe or socket: nothing to wait for
            start_runtime();
        }
    } else {
        start_runtime();
    }
    sys::Poller::Batch batch;
    Instant now = sys::monotonic_ms();
    while (phase_ == Phase::creating || phase_ == Phase::running) {
        const auto events = poller_.wait(now, deadline(), batch);
        now = sys::monotonic_ms();
        if (!events) {
            fail("Failed to wait for events", nullptr, events.error());
            break;
        }
        // The order of a turn: children, signals, output, everything else, as in sys::Source.
        for (size_t source = 0; source < sys::source_count; ++source) {
            for (const Event& event : *events) {
                if (static_cast<size_t>(event.source) == source && poller_.is_current(event)) {
                    dispatch(event, now);
                }
            }
        }
        end_turn(now);
    }
    return outcome_;
}

void Monitor::wait_for(Fd start_pipe) {
    start_pipe_ = Watch{poller_, Source::start_pipe, 0, std::move(start_pipe)};
}

void Monitor::dispatch(const Event& event, Instant now) {
    switch (event.source) {
    case Source::runtime:
        return on_runtime_ended(now);
    case Source::container:
        return on_container_ready();
    case Source::signals:
        return on_signals(now);
    case Source::standard_output:
        return output_.on_ready(Stream::standard_output, now);
    case Source::standard_error:
        return output_.on_ready(Stream::standard_error, now);
    case Source::start_pipe:
        return on_start_pipe();
    case Source::attach_listener:
        return clients_.on_listener_ready(now);
    case Source::attach_client:
        return clients_.on_client_ready(event.slot, event.mask, now);
    case Source::standard_input:
        return input_.on_ready();
    case Source::control:
    case Source::window_size:
        return on_control(event.source);
    case Source::console_listener:
        return console_.on_listener_ready();
    case Source::console_sender:
        return on_console();
    case Source::oom_watch:
        return oom_watch_.on_ready();
    case Source::notify:
        return notify_relay_.on_ready(notify_buffer_);
    case Source::log_file:
        return recorder_.expire(now);
    }
}

void Monitor::end_turn(Instant now) {
    if (timeout_at_ <= now && phase_ == Phase::running) {
        time_out();
    }
    if (container_poll_at_ <= now) {
        container_poll_at_ = now + container_poll_ms;
        on_container_ready();
    }
    output_.expire(now);
    clients_.expire(now);
    if (recorder_.deadline() <= now) {
        recorder_.expire(now);
    }
    recorder_.flush(now);
    settle_log();
    output_.settle(now);
    if (input_.is_free() && !std::exchange(input_was_free_, input_.is_free())) {
        clients_.resume_input();
    }
    input_was_free_ = input_.is_free();
}

// A log that is a fifo is watched, through a descriptor of its own, only while it is full.
void Monitor::settle_log() {
    if (!recorder_.waits_for_reader()) {
        log_watch_.close();
        return;
    }
    if (!log_watch_.valid()) {
        log_watch_ = Watch{poller_,
                           Source::log_file,
                           0,
                           Fd{sys::fcntl(recorder_.file().number(), F_DUPFD_CLOEXEC, 3)}};
    }
    if (log_watch_.valid()) {
        (void)log_watch_.want(EPOLLOUT);
    }
}

Instant Monitor::deadline() const {
    return std::min({timeout_at_,
                     container_poll_at_,
                     output_.deadline(),
                     clients_.deadline(),
                     recorder_.deadline()});
}

void Monitor::enter(Phase phase) {
    phase_ = phase;
    Message message;
    message.put("The container is ").put(name_of(phase));
    diag_.debug(message.view());
}

void Monitor::on_start_pipe() {
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
        const std::string_view value = value_of(origin_.environment[*listen_pid]);
        const auto pid = parse_pid(value);
        if (!pid) {
            Message words;
            words.put("[conmon:e]: Invalid LISTEN_PID ");
            words.put({value.data(), std::min<size_t>(value.size(), 10)}).put(' ');
            base::put_errno(words, EINVAL);
            words.put('\n');
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
        .oom_score_adjustment = origin_.oom_score_adjustment.view(),
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
    Fd pidfd = runtime_.take_pidfd();
    if (pidfd.valid()) { // without one, SIGCHLD tells
        runtime_watch_ = Watch{poller_, Source::runtime, 0, std::move(pidfd)};
        (void)runtime_watch_.want(EPOLLIN);
    }
}

void Monitor::on_signals(Instant now) {
    for (int i = 0; i < signals_max; ++i) {
        const auto signal = sys::next_signal(signals_.fd());
        if (!signal) {
            return;
        }
        switch (*signal) {
        case SIGTERM:
        case SIGINT:
        case SIGQUIT:
            pass_on(*signal);
            break;
        case SIGHUP:
            recorder_.reopen();
            break;
        case SIGCHLD:
        case SIGUSR1:
            on_child_signal(now);
            break;
        default:
            Message message;
            message.put("Ignoring signal ").put_dec(*signal);
            diag_.debug(message.view());
            break;
        }
    }
}

void Monitor::pass_on(int signal) {
    if (phase_ == Phase::creating && !runtime_started_) {
        fail_with("The monitor was told to stop before the runtime was started");
        return;
    }
    const Child& target = phase_ == Phase::creating ? runtime_ : container_;
    if (const auto sent = target.kill(signal); !sent) {
        diag_.debug("Failed to pass a signal on, ignoring", sent.error());
        on_child_signal(sys::monotonic_ms());
    }
}

void Monitor::on_child_signal(Instant now) {
    if (phase_ == Phase::creating) {
        // Only the runtime is reaped: another that has ended may be the container.
        if (runtime_.known() && !runtime_watch_.valid()) {
            on_runtime_ended(now);
        }
        return;
    }
    if (phase_ == Phase::running && sys::reap_others(container_.pid())) {
        on_container_ready();
    }
}

void Monitor::on_runtime_ended(Instant now) {
    const auto status = runtime_.reap(runtime_watch_.fd());
    if (!status) {
        return;
    }
    runtime_watch_.close();
    output_.collect_last_words(now);
    if (uses_terminal() && !console_.has_terminal()) {
        console_.on_listener_ready();
        on_console();
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
    const auto pid = parse_pid(base::text_of(*content));
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
        (void)container_watch_.want(EPOLLIN);
    }
    if (options_.api_version || !options_.exec) {
        // An old caller of exec reads one value, and that is the exit code.
        parent_.report(pid);
    }
    oom_watch_.start(pid);
    if (options_.timeout_s > 0) {
        timeout_at_ = now + Instant{options_.timeout_s} * 1000;
    }
    enter(Phase::running);
    output_.start(now);
    if (!container_watch_.valid()) {
        container_poll_at_ = now; // SIGCHLD tells, if the container is our child
    }
}

void Monitor::on_container_ready() {
    const auto status = container_.reap(container_watch_.fd());
    if (!status) {
        if (!container_watch_.valid() && container_.is_ours()) {
            container_poll_at_ = sys::never;
        }
        return;
    }
    container_watch_.close();
    container_poll_at_ = sys::never;
    if (status->kind == ExitStatus::Kind::unknown) {
        diag_.warning("Nobody can tell the exit status of the container");
    }
    outcome_ = {.kind = Outcome::Kind::container_ended, .status = *status};
    enter(Phase::draining);
}

void Monitor::time_out() {
    timeout_at_ = sys::never;
    on_container_ready();
    if (phase_ != Phase::running) {
        return; // it has just ended by itself
    }
    const pid_t group = sys::getpgid(container_.pid());
    if (group > 1 && group != sys::getpgid(0)) {
        (void)sys::kill(-group, SIGKILL);
    } else {
        (void)container_.kill(SIGKILL);
    }
    outcome_ = {.kind = Outcome::Kind::timed_out, .status = {}};
    enter(Phase::draining);
}

void Monitor::on_console() {
    std::optional<Fd> terminal = console_.on_sender_ready();
    if (!terminal) {
        return;
    }
    // Two descriptors: input and output are watched, and end, apart.
    Fd copy{sys::fcntl(terminal->number(), F_DUPFD_CLOEXEC, 3)};
    console_.adopt(*terminal);
    const auto used = output_.use(Stream::standard_output, std::move(*terminal));
    if (!used || !copy.valid()) {
        diag_.warning("Failed to use the terminal");
        return;
    }
    input_.use(std::move(copy));
}

void Monitor::on_control(Source source) {
    const Control::Wishes wishes = control_.on_ready(source);
    if (wishes.resize) {
        console_.resize(*wishes.resize);
    }
    if (wishes.reopen) {
        recorder_.reopen();
    }
}

} // namespace monitor
