#include "monitor/monitor.h"

#include "sys/calls.h"
#include "sys/memory.h"
#include "sys/signals.h"

#include <algorithm>

namespace monitor {

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

constexpr int signals_max = 64; // in a turn

// How long nothing out of the ordinary must have happened before memory is given back.
constexpr Instant quiet_ms = 1000;

// How soon a full log is looked at again when it cannot be watched.
constexpr Instant log_retry_ms = 100;

// How long to wait until a container that is not our child is reaped by its parent, before which
// the kernel does not tell its status.
constexpr Instant status_patience_ms = 1000;

// How often a container that no descriptor tells about is asked for.
constexpr Instant container_poll_ms = 1000;

// So long without output ends a time of much output. A signal may have to wait for it; but whoever
// prints more than a page ten times a second then costs a shield now and then, and not one each
// time.
constexpr Instant busy_pause_ms = 150;

bool is_output(const Event& event) {
    return event.source == Source::standard_output || event.source == Source::standard_error ||
           (event.source == Source::attach_client && (event.mask & EPOLLOUT) != 0);
}

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

} // namespace

Outcome Monitor::run(std::span<const char*> runtime_argv) {
    runtime_argv_ = runtime_argv;
    Instant now = sys::monotonic_ms();
    if (runtime_started_) { // by another program, whose place we have taken
        on_child_signal(now);
        end_turn(now);
    } else if (start_pipe_.valid()) {
        if (!start_pipe_.want(EPOLLIN)) {
            start_pipe_.close(); // not a pipe or socket: nothing to wait for
            start_runtime();
        }
    } else {
        start_runtime();
    }
    if (counters_.started_ms == 0) {
        counters_.started_ms = sys::wall_ms();
    }
    sys::Poller::Batch batch;
    while (phase_ == Phase::creating || phase_ == Phase::running) {
        const auto events = poller_.wait(now, deadline(), batch);
        now = sys::monotonic_ms();
        if (!events) {
            fail("Failed to wait for events", nullptr, events.error());
            break;
        }
        (void)dispatch_all(*events, now, Which::all);
        if (recorder_.is_busy() && phase_ == Phase::running && !upgrade_wanted_) {
            busy_now_ = now;
            recorder_.shield().run_long(
                [](void* self) { static_cast<Monitor*>(self)->take_busy_turns(); },
                this,
                signals_.fd());
            now = busy_now_;
            on_signals(now);    // epoll may have forgotten those that came
            rare_event_ = true; // as signals are
        }
        end_turn(now);
        if (upgrade_wanted_) {
            upgrade();
        }
    }
    return outcome_;
}

// The order of a turn is that of sys::Source: children, signals, who connects, output, the rest.
// Returns whether there was nothing but output.
bool Monitor::dispatch_all(std::span<const Event> events, Instant now, Which which) {
    bool is_all_output = true;
    for (size_t source = 0; source < sys::source_count; ++source) {
        for (const Event& event : events) {
            if (static_cast<size_t>(event.source) != source || !poller_.is_current(event)) {
                continue;
            }
            is_all_output = is_all_output && is_output(event);
            if (which == Which::all || is_output(event)) {
                dispatch(event, now);
            }
        }
    }
    return is_all_output;
}

// Ends this turn's output and takes more turns, in the shield (sys/shield.h), with nothing but
// output in them: anything else waits until we are outside again. One shield for many turns is what
// makes it cheap, in time and in what the kernel keeps of a process that has just ended.
void Monitor::take_busy_turns() {
    sys::Poller::Batch batch;
    bool goes_on = true;
    for (;;) {
        output_.expire(busy_now_);
        output_.settle(busy_now_);
        recorder_.flush(busy_now_);
        if (!goes_on || !recorder_.is_busy() || deadline() <= busy_now_ ||
            recorder_.shield().is_over()) {
            recorder_.calm_down(); // what is left to wait for waits outside
            return;
        }
        const auto events =
            poller_.wait(busy_now_, std::min(busy_now_ + busy_pause_ms, deadline()), batch);
        busy_now_ = sys::monotonic_ms();
        goes_on = events && !events->empty() && dispatch_all(*events, busy_now_, Which::output);
    }
}

void Monitor::dispatch(const Event& event, Instant now) {
    rare_event_ = rare_event_ || !is_output(event);
    switch (event.source) {
    case Source::runtime:
        return on_runtime_ended(now);
    case Source::container:
        return on_container_ready(now);
    case Source::signals:
        return on_signals(now);
    case Source::standard_output:
        return output_.on_ready(Stream::standard_output, now);
    case Source::standard_error:
        return output_.on_ready(Stream::standard_error, now);
    case Source::start_pipe:
        return on_start_pipe();
    case Source::attach_listener:
        return clients_.accept_waiting(now);
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
        return oom_watch_.on_ready(now);
    case Source::notify:
        return notify_relay_.on_ready(now);
    case Source::log_file:
        return recorder_.expire(now);
    }
}

void Monitor::end_turn(Instant now) {
    if (timeout_at_ <= now && phase_ == Phase::running) {
        time_out(now);
    }
    if (container_poll_at_ <= now) {
        on_container_ready(now);
    }
    if (oom_watch_.deadline() <= now) {
        oom_watch_.expire(now);
    }
    output_.expire(now);
    clients_.expire(now);
    if (notify_relay_.deadline() <= now) {
        notify_relay_.expire(now); // not resident: called in vain it would bring 13 pages in
    }
    if (recorder_.deadline() <= now || log_retry_at_ <= now) {
        recorder_.expire(now);
    }
    output_.settle(now); // may record what the log had no room for until now
    recorder_.flush(now);
    settle_log(now);
    give_back_memory(now);
    if (input_.take_freed()) {
        clients_.resume_input();
    }
}

// Once nothing has happened for a while, the memory that only the start, a burst of output or a
// rare event has needed goes back to the kernel. A container that prints a line now and then needs
// none of it, and does not wake us for this.
void Monitor::give_back_memory(Instant now) {
    if (phase_ != Phase::running) {
        return;
    }
    const bool is_burst = output_.take_burst();
    const bool is_rare = recorder_.take_rare();
    if (std::exchange(rare_event_, false) || is_burst || is_rare) {
        give_back_at_ = now + quiet_ms;
        return;
    }
    if (now < give_back_at_) {
        return;
    }
    give_back_at_ = sys::never;
    output_.end_flood();
    sys::release_pages(std::as_writable_bytes(runtime_argv_));
    if (input_.is_free()) {
        sys::release_pages(buffers_.input);
    }
    if (!notify_relay_.holds_message()) {
        sys::release_pages(buffers_.notify);
        sys::release_pages(std::as_writable_bytes(std::span{buffers_.notices}));
    }
    if (!output_.holds_bytes() && !recorder_.holds_bytes()) {
        for (const base::MutableBytes buffer : buffers_.streams) {
            sys::release_pages(buffer.subspan(page_size));
        }
        sys::release_pages(base::MutableBytes{buffers_.ring}.subspan(page_size));
    }
    sys::release_startup_memory();
}

// A log that is a fifo, or the journal, is watched only while it is full, through a descriptor of
// its own, made anew in every turn: it may be another that is full now.
void Monitor::settle_log(Instant now) {
    log_watch_.close();
    log_retry_at_ = sys::never;
    if (!recorder_.waits_for_reader()) {
        return;
    }
    if (!log_watch_.watch_copy(poller_, Source::log_file, recorder_.awaited(), EPOLLOUT)) {
        log_retry_at_ = now + log_retry_ms; // out of descriptors
    }
}

Instant Monitor::deadline() const {
    return std::min({timeout_at_,
                     give_back_at_,
                     log_retry_at_,
                     container_poll_at_,
                     oom_watch_.deadline(),
                     output_.deadline(),
                     clients_.deadline(),
                     notify_relay_.deadline(),
                     recorder_.deadline()});
}

void Monitor::enter(Phase phase) {
    phase_ = phase;
    Message message;
    message.put("The container is ").put(name_of(phase));
    diag_.debug(message.view());
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
        case SIGUSR2:
            upgrade_wanted_ = true;
            break;
        case SIGUSR1:
            give_account(now);
            on_child_signal(now); // as conmon does
            break;
        case SIGCHLD:
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
        runtime_started_ = true; // conmon's has been forked by now, so that the exit command runs
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
        if (runtime_.known()) {
            on_runtime_ended(now);
        }
        return;
    }
    if (phase_ == Phase::running && sys::reap_others(container_.pid())) {
        on_container_ready(now);
    }
}

void Monitor::on_container_ready(Instant now) {
    if (phase_ != Phase::running) {
        return;
    }
    oom_watch_.on_ready(now); // at once: somebody may be waiting to remove its cgroup
    const bool is_last_try = container_watch_.valid() && container_poll_at_ <= now;
    const auto status = container_.reap(
        container_watch_.fd(), is_last_try ? Child::Patience::ends : Child::Patience::waits);
    if (!status) {
        await_container(now);
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

// How the end of the container, or its status, will show next.
void Monitor::await_container(Instant now) {
    if (container_.is_ours()) {
        container_poll_at_ = sys::never; // SIGCHLD tells
    } else if (!container_watch_.valid()) {
        container_poll_at_ = now + container_poll_ms;
    } else if (container_poll_at_ == sys::never) {
        // It has ended, and its parent has not reaped it yet.
        (void)container_watch_.want(Watch::hang_up);
        container_poll_at_ = now + status_patience_ms;
    }
}

void Monitor::time_out(Instant now) {
    timeout_at_ = sys::never;
    on_container_ready(now);
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
