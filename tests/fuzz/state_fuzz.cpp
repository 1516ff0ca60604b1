// The state that another program has left: a reader on trial, as main makes it, that must say yes
// or no to any bytes, and after a yes is fit to be asked whatever needs no descriptor.

#include "monitor/upgrade.h"
#include "sys/signals.h"

#include <cstdlib>

#include <sys/mman.h>
#include <unistd.h>

namespace {

monitor::Buffers buffers;
record::Journal::Storage journal;
char* no_words[] = {nullptr};

cli::Options& options() {
    static cli::Options all;
    all.cid = "0123456789abcdef";
    all.bundle = "/";
    all.sdnotify_socket = "/none";
    return all;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const int memory = ::memfd_create("state", MFD_CLOEXEC);
    if (memory < 0 || ::write(memory, data, size) != static_cast<ssize_t>(size) ||
        ::dup2(memory, STDIN_FILENO) != STDIN_FILENO) {
        std::abort();
    }
    ::close(memory);

    sys::Diag diag;
    diag.leave_standard_error();
    sys::Zone zone = sys::Zone::create("");
    monitor::Counters counters{};
    record::Recorder recorder{
        {.k8s_file = {.name = {.path = "/none"}}, .journal = {.is_on = true, .id = options().cid}},
        buffers.ring,
        journal,
        zone,
        counters.records,
        diag};
    monitor::Origin origin{.signal_mask = {},
                           .arguments = no_words,
                           .environment = no_words,
                           .oom_score_adjustment = {}};
    auto poller = sys::Poller::create();
    monitor::Parent parent{monitor::ReportKey::data, diag};
    monitor::Monitor monitor{options(),
                             {.attach_stall_ms = 1000},
                             origin,
                             buffers,
                             *poller,
                             recorder,
                             counters,
                             parent,
                             diag};
    if (monitor.take_over(std::move(*sys::open_signal_fd()), true)) {
        (void)monitor.output().holds_bytes();
        (void)monitor.output().last_words();
        (void)recorder.holds_bytes();
        (void)recorder.deadline();
        (void)monitor.clients().deadline();
    }
    return 0;
}
