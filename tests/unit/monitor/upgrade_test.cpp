// The state that a version has left is read by all later ones: the samples are of the layouts that
// there have been. What else an upgrade must keep is in tests/upgrade, with programs that are
// executed.

#include "monitor/upgrade.h"
#include "support/files.h"
#include "sys/signals.h"
#include "unit/sys/ours.h"

#include <memory>

#include <sys/mman.h>

#include <catch2/catch.hpp>

using monitor::Monitor;

namespace {

// What main makes before it takes over, with `state` as standard input.
class Successor {
  public:
    explicit Successor(std::string_view state) : saved_{::fcntl(0, F_DUPFD_CLOEXEC, 10)} {
        diag_.leave_standard_error();
        const sys::Fd memory{::memfd_create("state", MFD_CLOEXEC)};
        REQUIRE(::write(memory.number(), state.data(), state.size()) ==
                static_cast<ssize_t>(state.size()));
        REQUIRE(::dup2(memory.number(), 0) == 0);
    }
    Successor(const Successor&) = delete;
    Successor& operator=(const Successor&) = delete;
    ~Successor() {
        ::dup2(saved_, 0);
        ::close(saved_);
    }

    bool tries() { return monitor.take_over(std::move(*sys::open_signal_fd()), true); }

  private:
    int saved_;
    monitor::Counters counters_{};
    sys::Diag diag_;
    sys::Zone zone_ = sys::Zone::create("");
    std::unique_ptr<cli::Options> options_ = std::make_unique<cli::Options>();
    std::unique_ptr<monitor::Buffers> buffers_ = std::make_unique<monitor::Buffers>();
    std::unique_ptr<record::Journal::Storage> journal_ =
        std::make_unique<record::Journal::Storage>();
    record::Recorder recorder_{{}, buffers_->ring, *journal_, zone_, counters_.records, diag_};
    sys::Poller poller_ = *sys::Poller::create();
    monitor::Parent parent_{monitor::ReportKey::data, diag_};
    char* none_[1] = {nullptr};

  public:
    monitor::Origin origin{
        .signal_mask = {}, .arguments = none_, .environment = none_, .oom_score_adjustment = {}};
    Monitor monitor{
        *options_, {}, origin, *buffers_, poller_, recorder_, counters_, parent_, diag_};
};

} // namespace

TEST_CASE("the state that layout 1 left is read") {
    if (sizeof(void*) != 8) {
        SUCCEED("the sample is of a 64-bit machine");
        return;
    }
    const std::string sample = support::read_file(STATE_SAMPLES "/layout-1");
    Successor next{sample};
    REQUIRE(next.tries());
    CHECK(next.monitor.runtime_was_started());
    CHECK(next.monitor.clients().count() == 1);
    CHECK_FALSE(next.monitor.output().holds_bytes());
    // On trial nothing is opened.
    CHECK_FALSE(next.monitor.output().is_open(record::Stream::standard_output));
}

TEST_CASE("the states that layout 1 left of a terminal and of what is owed are read") {
    if (sizeof(void*) != 8) {
        SUCCEED("the samples are of a 64-bit machine");
        return;
    }
    Successor terminal{support::read_file(STATE_SAMPLES "/layout-1-terminal")};
    REQUIRE(terminal.tries());
    CHECK(terminal.monitor.clients().count() == 2);
    Successor owing{support::read_file(STATE_SAMPLES "/layout-1-owing")};
    REQUIRE(owing.tries());
    CHECK(owing.monitor.clients().count() == 1);
    CHECK(owing.monitor.output().holds_bytes());
}

TEST_CASE("a state of a later layout, of another machine, or that ends within bytes is refused") {
    const std::string sample = support::read_file(STATE_SAMPLES "/layout-1");
    for (const size_t at : {8, 12}) {
        std::string bad = sample;
        bad[at] = static_cast<char>(bad[at] + 1);
        Successor next{bad};
        CHECK_FALSE(next.tries());
    }
    // Cut off in the middle of the typed packet.
    const size_t typed = sample.find("typed typed");
    REQUIRE(typed != std::string::npos);
    Successor next{std::string_view{sample}.substr(0, typed + 100)};
    CHECK_FALSE(next.tries());
}
