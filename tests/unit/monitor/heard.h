// What the tests of the monitor's parts share: a poller that is asked for what is ready now, as the
// monitor's loop asks it, and diagnostics that the test can read.
#pragma once

#include "sys/diag.h"
#include "sys/poller.h"
#include "unit/sys/ours.h"

#include <string>
#include <vector>

namespace unit {

// Standard error into a pipe, for as long as this lives.
class Heard {
  public:
    Heard() : pipe_{*sys::make_pipe(O_NONBLOCK)}, saved_{::fcntl(2, F_DUPFD_CLOEXEC, 10)} {
        ::dup2(pipe_.write_end.number(), 2);
    }
    Heard(const Heard&) = delete;
    Heard& operator=(const Heard&) = delete;
    ~Heard() {
        ::dup2(saved_, 2);
        ::close(saved_);
    }

    // What was said since the last call.
    std::string text() {
        std::string text;
        char buffer[4096];
        for (ssize_t count = 0;
             (count = ::read(pipe_.read_end.number(), buffer, sizeof buffer)) > 0;) {
            text.append(buffer, static_cast<size_t>(count));
        }
        return text;
    }

    size_t lines() {
        const std::string said = text();
        return static_cast<size_t>(std::count(said.begin(), said.end(), '\n'));
    }

  private:
    sys::Pipe pipe_;
    int saved_;
};

struct Loop {
    sys::Poller poller = *sys::Poller::create();
    sys::Poller::Batch batch;

    // Serves what is ready until nothing is, and says how many events that took; gives up after
    // `most`, which is what a part that spins uses up.
    template <typename Serve> size_t run(Serve serve, size_t most = 1000) {
        size_t served = 0;
        while (served < most) {
            const auto events = poller.wait(0, 0, batch);
            REQUIRE(events);
            if (events->empty()) {
                break;
            }
            for (const sys::Event& event : *events) {
                if (poller.is_current(event)) {
                    serve(event);
                }
                ++served;
            }
        }
        return served;
    }
};

} // namespace unit
