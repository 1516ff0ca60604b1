// Control: the fifos `ctl` and `winsz` (contract.md 3.3), each with a line buffer of its own.
//
//     ctl     1 ROWS COLUMNS   resize the terminal      2 N N   reopen the log
//     winsz   ROWS COLUMNS     resize the terminal
//
// Numbers are read as by scanf's %d; what follows the last one is ignored. Rows and columns are 0
// to 1000. A bad line costs itself and a warning, never the lines around it.
#pragma once

#include "base/line_feed.h"
#include "sys/archive.h"
#include "sys/diag.h"
#include "sys/poller.h"
#include "sys/tty.h"

#include <optional>

namespace monitor {

struct ControlLine {
    enum class Kind : uint8_t { resize, reopen, too_few_numbers, unknown_type, out_of_range };

    Kind kind = Kind::too_few_numbers;
    int32_t type = 0;
    int32_t rows = 0;
    int32_t columns = 0;

    // Of a resize.
    [[nodiscard]] sys::WindowSize size() const {
        return {.rows = static_cast<uint16_t>(rows), .columns = static_cast<uint16_t>(columns)};
    }
};

// A line of `ctl`, or of `winsz`, which has no type and can only be a resize; without its newline.
ControlLine parse_control(std::string_view line);
ControlLine parse_window_size(std::string_view line);

class Control {
  public:
    // What the lines that have come ask for; of several sizes only the last counts.
    struct Wishes {
        std::optional<sys::WindowSize> resize;
        bool reopen = false;
    };

    Control(sys::Poller& poller, sys::Diag& diag) : poller_{poller}, diag_{diag} {}

    // Make `ctl` and `winsz` in `directory`.
    base::Result<void> open_control(sys::FdRef directory);
    base::Result<void> open_window_size(sys::FdRef directory);

    // Reads what `source`, one of control and window_size, has.
    Wishes on_ready(sys::Source source);

    // Puts the state aside, or takes it over (sys/archive.h).
    void carry(sys::Archive& archive);

  private:
    static constexpr size_t line_max = 199; // conmon's

    using Feed = base::LineFeed<line_max>;

    void take(const ControlLine& line, Wishes& wishes);
    void refuse(const ControlLine& line);
    base::Result<void>
    open_one(sys::FdRef directory, const char* name, sys::Source source, sys::Watch& watch);

    sys::Poller& poller_;
    sys::Diag& diag_;
    sys::Watch control_;
    sys::Watch window_size_;
    Feed control_feed_;
    Feed window_size_feed_;
};

} // namespace monitor
