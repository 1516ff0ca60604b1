// sd_notify datagrams from a container: what passes is what a plain filter lets pass, and nothing
// that passes once is changed by passing again.

#include "monitor/notify_relay.h"

#include <array>
#include <cstdlib>
#include <string>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

constexpr size_t datagram_max = 32'768;

std::string filtered(std::string_view datagram) {
    static base::Text<datagram_max> sink;
    sink.clear();
    monitor::put_allowed_notices(sink, datagram);
    must(!sink.overflowed());
    return std::string{sink.view()};
}

std::string expected(std::string_view datagram) {
    constexpr std::array<std::string_view, 5> whole{
        "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "WATCHDOG=trigger"};
    constexpr std::array<std::string_view, 4> starts{
        "STATUS=", "ERRNO=", "BUSERROR=", "MONOTONIC_USEC="};
    std::string kept;
    std::string piece;
    const auto end_piece = [&] {
        bool passes = false;
        for (const std::string_view one : whole) {
            passes = passes || piece == one;
        }
        for (const std::string_view one : starts) {
            passes = passes || piece.starts_with(one);
        }
        if (passes) {
            kept += (kept.empty() ? "" : "\n") + piece;
        }
        piece.clear();
    };
    for (const char c : datagram) {
        if (c == '\0') {
            break;
        }
        if (c == '\n' || c == '\r') {
            end_piece();
        } else {
            piece += c;
        }
    }
    end_piece();
    return kept;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view datagram{reinterpret_cast<const char*>(data),
                                    size < datagram_max ? size : datagram_max};
    const std::string once = filtered(datagram);
    must(once == expected(datagram));
    must(filtered(once) == once);
    return 0;
}
