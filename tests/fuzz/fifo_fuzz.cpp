// Whatever is written to the fifos ctl and winsz, in any pieces and mixed: each takes its own lines
// whole, and what they ask for is what the parser makes of the last good one.

#include "fuzz/input.h"
#include "fuzz/place.h"
#include "monitor/control.h"

#include <optional>
#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace {

using fuzz::must;
using monitor::ControlLine;

constexpr std::array<std::string_view, 6> calls{
    "read", "mkfifoat", "openat", "unlinkat", "epoll_ctl", "fstat"};

// One fifo as a plain splitter has it: a line of more than 199 bytes is none.
class Lines {
  public:
    template <typename Take> void bring(std::string_view text, Take take) {
        for (const char one : text) {
            if (one != '\n') {
                line_ += one;
                continue;
            }
            if (line_.size() < 200) {
                take(line_);
            }
            line_.clear();
        }
    }

  private:
    std::string line_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Place place;
    place.clear();
    fuzz::Input input{data, size};
    fuzz::Plan plan;
    const shadow::Faults faults([&](const shadow::Call& call) { return plan.judge(call); });
    if ((input.byte() & 1U) != 0) {
        plan.draw(input, calls);
    }
    sys::Poller poller = *sys::Poller::create();
    sys::Diag diag;
    diag.leave_standard_error();
    monitor::Control control{poller, diag};
    const sys::Fd directory{::open(place.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!control.open_control(directory) || !control.open_window_size(directory)) {
        must(plan.drawn());
        return 0;
    }
    const sys::Fd ctl{::open((place / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
    const sys::Fd winsz{::open((place / "winsz").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
    must(ctl.valid() && winsz.valid());
    Lines control_lines;
    Lines size_lines;
    while (!input.empty()) {
        const uint8_t step = input.byte();
        const bool is_control = (step & 0x80U) == 0;
        if ((step & 0x7fU) == 0) {
            plan.draw(input, calls);
        }
        const std::string piece{input.bytes(step & 0x7fU)};
        must(::write((is_control ? ctl : winsz).number(), piece.data(), piece.size()) ==
             static_cast<ssize_t>(piece.size()));
        std::optional<sys::WindowSize> size_wanted;
        bool reopen_wanted = false;
        const auto take = [&](const ControlLine& line) {
            if (line.kind == ControlLine::Kind::resize) {
                size_wanted = line.size();
            }
            reopen_wanted = reopen_wanted || line.kind == ControlLine::Kind::reopen;
        };
        if (is_control) {
            control_lines.bring(
                piece, [&](const std::string& line) { take(monitor::parse_control(line)); });
        } else {
            size_lines.bring(
                piece, [&](const std::string& line) { take(monitor::parse_window_size(line)); });
        }
        const auto source = is_control ? sys::Source::control : sys::Source::window_size;
        monitor::Control::Wishes wishes;
        // A read that fails is followed by another, and so is a short one.
        for (int reads = plan.drawn() ? 200 : 1; reads > 0; --reads) {
            const auto more = control.on_ready(source);
            wishes.resize = more.resize ? more.resize : wishes.resize;
            wishes.reopen = wishes.reopen || more.reopen;
        }
        must(wishes.reopen == reopen_wanted);
        must(wishes.resize.has_value() == size_wanted.has_value());
        must(!size_wanted || (wishes.resize->rows == size_wanted->rows &&
                              wishes.resize->columns == size_wanted->columns));
    }
    return 0;
}
