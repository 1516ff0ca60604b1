#include "monitor/account.h"

#include "monitor/monitor.h"
#include "sys/calls.h"
#include "sys/file.h"

#include <bit>

#include <limits.h>

namespace monitor {

using base::Text;
using sys::Instant;

namespace {

// The names of the numbers in Counters, each with a NUL behind it.
constexpr char names[] = "started_ms\0"
                         "written_ms\0"
                         "stdout_bytes\0"
                         "stdout_records\0"
                         "stderr_bytes\0"
                         "stderr_records\0"
                         "lost_disk_records\0"
                         "lost_disk_bytes\0"
                         "lost_limit_records\0"
                         "lost_limit_bytes\0"
                         "lost_journal_records\0"
                         "lost_journal_bytes\0"
                         "lost_rate_records\0"
                         "lost_rate_bytes\0"
                         "rate_waits\0"
                         "rate_wait_ms\0"
                         "rotations\0"
                         "reopen_failures\0"
                         "clients\0"
                         "clients_ever\0"
                         "clients_dropped\0"
                         "stalls\0"
                         "stall_ms\0"
                         "oom_events\0"
                         "upgrades";

using Numbers = std::array<uint64_t, sizeof(Counters) / sizeof(uint64_t)>;
static_assert(std::count(names, names + sizeof names, '\0') == std::tuple_size_v<Numbers>);

constexpr size_t number_size_max = 20; // digits of 2^64 - 1
constexpr size_t account_max =
    64 + sizeof names + std::tuple_size_v<Numbers> * (number_size_max + 4);

} // namespace

void put_account(base::TextSink& text, const Counters& counters) {
    text.put("{\"version\":\"" MOTE_VERSION "\",\"pid\":").put_dec(sys::getpid());
    const char* next = names;
    for (const uint64_t number : std::bit_cast<Numbers>(counters)) {
        const std::string_view name{next};
        text.put(",\"").put(name).put("\":").put_dec(number);
        next += name.size() + 1;
    }
    text.put("}\n");
}

void Monitor::give_account(Instant now) {
    const char* const directory =
        options_.persist_dir != nullptr ? options_.persist_dir : options_.bundle;
    if (directory == nullptr) {
        return; // an exec session that has no place of its own
    }
    output_.count_stall(now);
    counters_.clients = clients_.count();
    counters_.written_ms = sys::wall_ms();
    Text<PATH_MAX> path;
    // A session may have been given the directory of its container.
    path.put(directory).put(options_.exec ? "/exec.json" : "/monitor.json");
    Text<account_max> text;
    put_account(text, counters_);
    if (const auto written = sys::write_atomically(path.c_str(), text.view()); !written) {
        diag_.warning("Failed to write the account", written.error());
    }
}

void Monitor::end_account(Instant now) {
    if (leaves_account_) {
        give_account(now);
    }
}

} // namespace monitor
