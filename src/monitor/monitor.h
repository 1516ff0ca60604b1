// Monitor: the running program. It owns every part, decides what phase the container is in, and
// has the one switch over all events.
//
//                        creating              running                 draining
//     TERM INT QUIT      to the runtime        to the container        -
//     HUP                reopen the log        reopen the log          -
//     USR1               give an account       give an account         -
//     CHLD               zombies wait          strangers are reaped    strangers are reaped
//     runtime ends       running, or failed    -                       -
//     container ends     the kernel remembers  draining                -
//     stream readable    kept                  recorded, offered       recorded, offered
//     USR2               upgraded              upgraded                -
//     timeout            -                     the group is killed     -
//     ctl, attach, oom   served                served                  -
//
// `draining` and what follows it is done in one go, in epilogue.h, since nothing in it waits.
#pragma once

#include "cli/options.h"
#include "monitor/account.h"
#include "monitor/buffers.h"
#include "monitor/clients.h"
#include "monitor/console.h"
#include "monitor/control.h"
#include "monitor/input.h"
#include "monitor/notify_relay.h"
#include "monitor/oom_watch.h"
#include "monitor/output.h"
#include "monitor/parent.h"
#include "record/recorder.h"
#include "sys/archive.h"
#include "sys/child.h"
#include "sys/diag.h"
#include "sys/poller.h"

namespace monitor {

enum class Phase : uint8_t { creating, running, draining, done };

// What the process was when it was started, to be handed to the programs that we run.
struct Origin {
    sigset_t signal_mask;
    char** arguments;
    char** environment;
    base::Text<16> oom_score_adjustment; // empty: it was not changed
};

// How it all ended.
struct Outcome {
    enum class Kind : uint8_t { container_ended, timed_out, failed };

    Kind kind = Kind::failed;
    sys::ExitStatus status;

    // As it is written to the exit files.
    [[nodiscard]] int code() const { return kind == Kind::timed_out ? -1 : status.code(); }
};

class Monitor {
  public:
    struct Limits {
        int64_t attach_stall_ms = 0;
        bool leaves_account = false; // at the end of the container
    };

    // All references outlive the monitor. `signal_fd` is for everything that is blocked.
    Monitor(const cli::Options& options,
            const Limits& limits,
            Origin& origin,
            Buffers& buffers,
            sys::Poller& poller,
            record::Recorder& recorder,
            Counters& counters,
            Parent& parent,
            sys::Diag& diag);

    // Binds the notify socket, if there is one. Here as in prepare(), a refusal has been told to
    // the caller, by what could not be made and why, when false is returned.
    bool open_notify_relay();

    // Makes what must be there before the runtime starts: pipes or the console socket, the attach
    // socket, the fifos.
    bool prepare(sys::Fd signal_fd);

    // exec-attach: the runtime is not started before this descriptor has data or ends.
    void wait_for(sys::Fd start_pipe);

    // From the start of the runtime, whose argv lives on, to the end of the container.
    Outcome run(std::span<const char*> runtime_argv);

    // In place of prepare(): takes over from the program that has left its state as our standard
    // input (upgrade.h), or tries how that would be.
    bool take_over(sys::Fd signal_fd, bool is_on_trial);

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

    // One event; public so that a test can drive it without a kernel.
    void dispatch(const sys::Event& event, sys::Instant now);

    // The path of the console socket, for the runtime's argv; nullptr without a terminal.
    [[nodiscard]] const char* console_socket() { return console_.path(); }

    [[nodiscard]] Clients& clients() { return clients_; }
    [[nodiscard]] Output& output() { return output_; }
    [[nodiscard]] OomWatch& oom_watch() { return oom_watch_; }

    // Whether the runtime has been started, so that there is something to clean up after.
    [[nodiscard]] bool runtime_was_started() const { return runtime_started_; }

    // The container has ended and all is recorded: leaves the account, if that was asked for.
    void end_account(sys::Instant now);

    // Removes what a runtime that failed has left of our own.
    void abandon() { console_.close(); }

  private:
    enum class Which : uint8_t { all, output };

    bool watch_signals(sys::Fd signal_fd);
    bool prepare_streams();
    bool make_stdin();
    bool make_output(record::Stream stream, sys::Fd& runtime_end);
    bool prepare_sockets();
    void on_start_pipe();
    void start_runtime();
    void on_signals(sys::Instant now);
    void on_child_signal(sys::Instant now);
    void pass_on(int signal);
    void on_runtime_ended(sys::Instant now);
    void tell_runtime_failure(sys::ExitStatus status);
    void tell_missing_pid(const base::Error& error);
    void begin_running(pid_t pid, sys::Instant now);
    void on_container_ready(sys::Instant now);
    void await_container(sys::Instant now);
    void time_out(sys::Instant now);
    void on_console();
    void on_control(sys::Source source);
    void give_account(sys::Instant now);
    void settle_log(sys::Instant now);
    void upgrade();
    bool put_state_aside();
    bool ask(const char* program);
    bool carry_as(sys::Archive::Task task, sys::FdRef record);
    void give_back_memory(sys::Instant now);
    bool fail(std::string_view what, const char* object, const base::Error& error);
    void fail_with(std::string_view words);
    void enter(Phase phase);
    void end_turn(sys::Instant now);
    bool dispatch_all(std::span<const sys::Event> events, sys::Instant now, Which which);
    void take_busy_turns();
    [[nodiscard]] sys::Instant deadline() const;
    [[nodiscard]] bool uses_terminal() const { return options_.terminal; }

    const cli::Options& options_;
    Origin& origin_;
    sys::Poller& poller_;
    sys::Diag& diag_;
    record::Recorder& recorder_;
    Counters& counters_;
    Buffers& buffers_;
    Parent& parent_;
    std::span<const char*> runtime_argv_;

    sys::Watch signals_;
    sys::Watch runtime_watch_;
    sys::Watch container_watch_;
    sys::Watch start_pipe_;
    sys::Watch log_watch_; // a log that is a fifo, while it is full
    sys::Child runtime_;
    sys::Child container_;

    // What the runtime gets as its standard streams; closed once it has them.
    sys::Fd runtime_stdin_;
    sys::Fd runtime_stdout_;
    sys::Fd runtime_stderr_;

    Input input_;
    Clients clients_;
    Output output_;
    Console console_;
    Control control_;
    OomWatch oom_watch_;
    NotifyRelay notify_relay_;

    sys::Instant busy_now_ = 0; // in a time of much output
    sys::Instant timeout_at_ = sys::never;
    sys::Instant give_back_at_ = sys::never;
    sys::Instant log_retry_at_ = sys::never;
    sys::Instant container_poll_at_ = sys::never; // see await_container
    Outcome outcome_;
    Phase phase_ = Phase::creating;
    bool leaves_account_;
    bool runtime_started_ = false;
    bool upgrade_wanted_ = false;
    bool rare_event_ = true; // something used memory that waiting does not need
};

} // namespace monitor
