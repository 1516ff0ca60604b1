#include "monitor/epilogue.h"

#include "base/errno_text.h"
#include "monitor/attach_link.h"
#include "sys/calls.h"
#include "sys/file.h"
#include "sys/signals.h"

#include <array>
#include <cerrno>

#include <limits.h>

namespace monitor {

using base::Result;
using base::Text;
using sys::Child;
using sys::FdRef;
using sys::Instant;

namespace {

constexpr int exit_status_of_failure = 1;

// Serves clients that are still owed output, in an ordinary process of its own that has nothing but
// their sockets and what they are owed. The monitor goes on without it.
void leave_lingerer(Clients& clients,
                    std::span<const FdRef> sockets,
                    const Origin& origin,
                    sys::Diag& diag) {
    if (!clients.owing()) {
        return;
    }
    const pid_t pid = sys::fork();
    if (pid < 0) {
        diag.warning("Failed to serve slow attach clients to the end",
                     {.code = errno, .call = "fork"});
        return;
    }
    if (pid == 0) {
        sys::close_all_except(sockets);
        sys::set_oom_score_adjustment(origin.oom_score_adjustment.view());
        sigset_t mask = origin.signal_mask;
        (void)sigaddset(&mask, SIGUSR2); // there is nothing to upgrade, and it must not be death
        sys::set_signal_mask(mask);
        clients.serve_to_the_end();
        ::_exit(0);
    }
}

void write_exit_file(
    const char* directory, const char* name, std::string_view what, int code, sys::Diag& diag) {
    if (directory == nullptr) {
        return;
    }
    Text<PATH_MAX> path;
    path.put(directory).put(*directory != '\0' ? "/" : "").put(name);
    Text<16> content;
    content.put_dec(code);
    if (const Result<void> written = sys::write_atomically(path.c_str(), content.view());
        !written) {
        sys::Message message;
        message.put("Failed to write ").put(content.view()).put(" to ").put(what).put(": ");
        message.put(path.view()).put(": ");
        base::put_errno(message, written.error().code);
        diag.error(message.view());
    }
}

void remove_attach_socket(const cli::Options& options) {
    if (options.bundle == nullptr || options.drivers.passthrough) {
        return;
    }
    Text<PATH_MAX> path;
    path.put(options.bundle).put("/attach");
    (void)sys::unlink(path.c_str());
    remove_attach_link(options);
}

void run_exit_command(const cli::Options& options,
                      Origin& origin,
                      std::span<const char*> argv,
                      sys::Diag& diag) {
    sys::set_subreaper(false); // or what the command starts would become ours
    const Instant start = sys::monotonic_ms() + Instant{options.exit_delay_s} * 1000;
    (void)sys::reap_others(0);
    while (sys::monotonic_ms() < start) {
        (void)sys::await_child(start);
        (void)sys::reap_others(0);
    }
    const Result<Child> command = sys::spawn({
        .path = options.exit_command,
        .arguments = argv.data(),
        .environment = origin.environment,
        .standard_input = {},
        .standard_output = {},
        .standard_error = {},
        .signal_mask = &origin.signal_mask,
        .oom_score_adjustment = origin.oom_score_adjustment.view(),
        .listen_pid_index = std::nullopt,
    });
    if (!command) {
        diag.say(sys::Severity::error, "Failed to run the exit command", command.error());
        return;
    }
    sys::wait_for(command->pid());
}

} // namespace

void end(Monitor& monitor,
         const cli::Options& options,
         const Outcome& outcome,
         Origin& origin,
         std::span<const char*> exit_argv,
         record::Recorder& recorder,
         Parent& parent,
         sys::Diag& diag) {
    const Instant now = sys::monotonic_ms();
    const bool has_status = outcome.kind != Outcome::Kind::failed;
    const int code = has_status ? outcome.code() : -1;

    monitor.oom_watch().check();
    monitor.clients().accept_waiting(now);
    recorder.end_of_container();
    switch (outcome.kind) {
    case Outcome::Kind::container_ended:
        monitor.output().drain(now);
        break;
    case Outcome::Kind::timed_out:
        monitor.output().close(now);
        break;
    case Outcome::Kind::failed:
        monitor.abandon();
        break;
    }
    recorder.finish(now);

    // From here on most descriptor objects hold a number that is not their own any more; none of
    // them is used or destroyed. What the caller lent us is closed before anybody else exists who
    // could have it too.
    monitor.clients().close_served();
    std::array<FdRef, 3 + Clients::clients_max> kept{
        recorder.file(), parent.sync_pipe(), diag.syslog_fd()};
    const size_t count = monitor.clients().put_fds(std::span{kept}.subspan(3));
    const std::span<const FdRef> sockets = std::span{kept}.subspan(3, count);
    sys::close_all_except(std::span{kept}.first(3 + count));
    leave_lingerer(monitor.clients(), sockets, origin, diag);
    monitor.clients().close_all();

    if (has_status) {
        monitor.end_account(now);
        write_exit_file(options.persist_dir, "exit", "container exit file", code, diag);
        write_exit_file(options.exit_dir, options.cid, "exit file", code, diag);
        if (options.exec) {
            parent.report(code,
                          outcome.kind == Outcome::Kind::timed_out ? "command timed out" : "");
        }
    }
    remove_attach_socket(options);
    if (has_status && !options.no_sync_log) {
        recorder.sync();
    }
    if (!exit_argv.empty() && monitor.runtime_was_started()) {
        diag.disconnect();
        sys::close_all_except({});
        run_exit_command(options, origin, exit_argv, diag);
    }
    ::_exit(has_status ? code & 0xff : exit_status_of_failure);
}

} // namespace monitor
