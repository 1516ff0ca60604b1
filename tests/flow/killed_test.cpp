// What kill -9 of the monitor leaves. The kernel ends a write at a page when its process is killed,
// so the last record on disk may be torn; the next monitor mends it (record/k8s_file.h). That it is
// never torn is not met, and is what this test is for.

#include "support/monitor.h"

#include <csignal>

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

TEST_CASE("A killed monitor leaves whole records on disk") {
    for (int run = 0; run < 10; ++run) {
        Monitor m;
        m.shell(
            "yes 'a line of some length that is not a power of two' | head -c 40000000; sleep 60");
        m.run();
        REQUIRE(eventually([&] { return fs::file_size(m.log) > 0; }));
        ::usleep(static_cast<useconds_t>(1000 * run));
        m.process().kill(SIGKILL);
        m.end();
        CHECK(!m.records().empty());
    }
}
