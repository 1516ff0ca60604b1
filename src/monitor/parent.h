// Parent: what we tell the caller, on the sync pipe and on the attach pipe. One JSON object per
// message, LF-terminated (contract.md 2.3). The protocol is conmon's; Podman and CRI-O read it.
#pragma once

#include "base/text.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/fd.h"

#include <optional>

namespace monitor {

// The name of the value, which depends on the caller's generation and mode.
enum class ReportKey : uint8_t { data, exit_code, pid };

// A descriptor whose number the environment variable `name` gives; it is made close-on-exec and is
// ours from then on. `refused`: the number or the descriptor is bad, and `why` says so in conmon's
// words.
enum class Lent : uint8_t { absent, given, refused };
Lent take_lent_fd(const char* name, sys::Fd& fd, base::TextSink& why);

// What remains of a runtime's words in a report.
constexpr size_t report_text_max = 8192;

class Parent {
  public:
    Parent(ReportKey key, sys::Diag& diag) : diag_{diag}, key_{key} {}

    void use_sync_pipe(sys::Fd pipe) { sync_pipe_ = std::move(pipe); }
    void use_attach_pipe(sys::Fd pipe) { attach_pipe_ = std::move(pipe); }

    // `value` is a pid, an exit status or -1; `message` is left out when empty. If the reader has
    // gone, the pipe is closed and nothing more is said.
    void report(int value, std::string_view message = {});

    // Tells that the attach socket is there.
    void announce_sockets();

    [[nodiscard]] sys::FdRef sync_pipe() const { return sync_pipe_; }

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    void send(sys::Fd& pipe, std::string_view line);

    sys::Diag& diag_;
    sys::Fd sync_pipe_;
    sys::Fd attach_pipe_;
    ReportKey key_;
};

} // namespace monitor
