// Diag: what we say about ourselves. To standard error while the caller listens there, and to the
// system log when --syslog asks for it; the formats are conmon's (contract.md 1.3):
//     [conmon:w]: text
//     <14>Nov  4 12:00:00 conmon: conmon 0123456789abcdef0123 <nwarn>: text      (to /dev/log)
// A message that cannot be delivered is dropped: diagnostics never block and never fail.
#pragma once

#include "base/result.h"
#include "base/text.h"
#include "sys/fd.h"

namespace sys {

class Zone;

// One for each way in which conmon tags its lines. The order is that of growing detail.
enum class Severity : uint8_t { error, warning, info, debug, trace };

// A message in the making. Longer ones are cut.
using Message = base::Text<1024>;

class Diag {
  public:
    struct Settings {
        Severity detail = Severity::warning; // the most detailed that is said
        const char* program = "conmon";      // the identifier in the system log
        std::string_view subject;            // "cid" or "cid: tag"; its first 20 bytes are used
        bool to_syslog = false;
        Zone* zone = nullptr; // of the stamps in the system log; nullptr: UTC
    };

    Diag() = default;

    // Until then only errors and warnings are said, to standard error.
    void configure(const Settings& settings) { settings_ = settings; }

    // Standard error has become /dev/null: nothing more is written there.
    void leave_standard_error() { to_stderr_ = false; }

    [[nodiscard]] bool says(Severity severity) const { return severity <= settings_.detail; }

    void say(Severity severity, std::string_view text) { deliver(severity, text, 0); }

    // "text: step: reason"; errno-carrying messages are tagged differently in the system log.
    void say(Severity severity, std::string_view text, const base::Error& error);

    void error(std::string_view text) { say(Severity::error, text); }
    void warning(std::string_view text) { say(Severity::warning, text); }
    void warning(std::string_view text, const base::Error& e) { say(Severity::warning, text, e); }
    void debug(std::string_view text) { say(Severity::debug, text); }
    void debug(std::string_view text, const base::Error& e) { say(Severity::debug, text, e); }

    // Closes the connection to the system log; the next message opens it again.
    void disconnect() { syslog_.reset(); }

    [[nodiscard]] FdRef syslog_fd() const { return syslog_; }

  private:
    void deliver(Severity severity, std::string_view text, int code);
    void write_stderr(Severity severity, std::string_view text) const;
    void send_syslog(Severity severity, std::string_view text, bool carries_errno);

    Settings settings_;
    Fd syslog_;
    bool to_stderr_ = true;
};

} // namespace sys
