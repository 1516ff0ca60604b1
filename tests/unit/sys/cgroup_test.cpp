// Control groups: the kernel's texts, and odd ones.

#include "shadow/faults.h"
#include "sys/cgroup.h"
#include "unit/sys/ours.h"

#include <string>

using base::Text;
using shadow::Faults;
using sys::CgroupVersion;
using sys::memory_cgroup_of;
using sys::MemoryEvents;
using sys::parse_memory_events;

namespace {

constexpr auto v1 = CgroupVersion::v1;
constexpr auto v2 = CgroupVersion::v2;

} // namespace

TEST_CASE("the group of cgroup v2 is that of the line without controllers") {
    CHECK(memory_cgroup_of("0::/user.slice/x.scope\n", v2) == "/user.slice/x.scope");
    CHECK(memory_cgroup_of("0::/", v2) == "/");
    CHECK(memory_cgroup_of("0::/x\n0::/y\n", v2) == "/x");
}

TEST_CASE("lines of cgroup v1 before the one of v2 do not disturb it (regression 40)") {
    CHECK(memory_cgroup_of("1:net_cls:/\n0::/x\n", v2) == "/x");
    CHECK(memory_cgroup_of("2:memory:/a\n1:name=systemd:/b\n0::/x", v2) == "/x");
    CHECK(memory_cgroup_of("10::/a\n0::/x\n", v2) == "/x");
    CHECK(memory_cgroup_of("0:memory:/a\n0::/x\n", v2) == "/x");
}

TEST_CASE("the group of cgroup v1 is that of the line with the memory controller") {
    CHECK(memory_cgroup_of("9:memory:/docker/1\n", v1) == "/docker/1");
    CHECK(memory_cgroup_of("3:cpu,memory,cpuacct:/m\n", v1) == "/m");
    CHECK(memory_cgroup_of("3:memory,cpu:/m\n", v1) == "/m");
    CHECK(memory_cgroup_of("3:cpu,memory:/m\n", v1) == "/m");
    CHECK(memory_cgroup_of("5:memoryx:/a\n4:xmemory:/b\n3:name=memory:/c\n2:memory:/d\n0::/e",
                           v1) == "/d");
}

TEST_CASE("a group's path may hold colons, blanks and anything but a newline") {
    CHECK(memory_cgroup_of("0::/a:b: c\tdä\n", v2) == "/a:b: c\tdä");
    CHECK(memory_cgroup_of("4:memory:/a:memory:b\n", v1) == "/a:memory:b");
}

TEST_CASE("texts without the line, or with broken ones, have no group") {
    for (const auto version : {v1, v2}) {
        for (const std::string_view text : {"",
                                            "\n",
                                            "\n\n\n",
                                            ":",
                                            "::",
                                            "0:",
                                            "0",
                                            "memory",
                                            "0:/x\n",
                                            "3:cpu:/x\n",
                                            "::/x\n",
                                            "00::/x\n",
                                            " 0::/x\n"}) {
            INFO(text);
            CHECK_FALSE(memory_cgroup_of(text, version));
        }
    }
    CHECK(memory_cgroup_of("rubbish\n\n7:\n0::/x\n", v2) == "/x");
    CHECK(memory_cgroup_of("0::\n", v2) == ""); // the kernel never writes it
    CHECK_FALSE(memory_cgroup_of("0::/x\n", v1));
    CHECK_FALSE(memory_cgroup_of("3:memory:/x\n", v2));
}

TEST_CASE("the counters of memory.events are read by their whole names") {
    CHECK(parse_memory_events("low 0\nhigh 12\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n") ==
          MemoryEvents{.oom = 3, .oom_kill = 2});
    CHECK(parse_memory_events("oom_kill 2\noom 3") == MemoryEvents{.oom = 3, .oom_kill = 2});
    CHECK(parse_memory_events("oom 18446744073709551615\n") ==
          MemoryEvents{.oom = UINT64_MAX, .oom_kill = 0});
}

TEST_CASE("odd lines of memory.events count nothing") {
    for (const std::string_view text : {"",
                                        "oom",
                                        "oom ",
                                        "oom x",
                                        "oom 1 ",
                                        "oom  1",
                                        "oom -1",
                                        "oom +1",
                                        "oom 1x",
                                        " oom 1",
                                        "oom\t1",
                                        "oom 18446744073709551616",
                                        "OOM 1",
                                        "oom_killx 1",
                                        "xoom 1\nxoom_kill 1"}) {
        INFO(text);
        CHECK(parse_memory_events(text) == MemoryEvents{});
    }
}

TEST_CASE("our own group has a directory under /sys/fs/cgroup, or there is no memory controller") {
    const auto version = sys::cgroup_version();
    Text<4096> path;
    const auto found = sys::put_memory_cgroup(path, ::getpid(), version);
    if (found) {
        CHECK(path.view().substr(0, 14) == "/sys/fs/cgroup");
        CHECK(::access(path.c_str(), F_OK) == 0);
    } else {
        CHECK(found.error().code == ENOENT);
        CHECK(found.error().call == "find memory controller");
    }
}

TEST_CASE("the group of a process that has gone is told as such, and a path too long is not cut") {
    const auto version = sys::cgroup_version();
    Text<4096> path;
    const auto gone = sys::put_memory_cgroup(path, 0x3fffffff, version);
    REQUIRE_FALSE(gone);
    CHECK(gone.error().code == ENOENT);
    CHECK(gone.error().call == "open");
    Text<4> small;
    const auto cut = sys::put_memory_cgroup(small, ::getpid(), version);
    REQUIRE_FALSE(cut);
    CHECK((cut.error().code == ENAMETOOLONG || cut.error().code == ENOENT));
    CHECK(cut.error().call == "find memory controller");
}

TEST_CASE("a machine without /sys/fs/cgroup counts as cgroup v1") {
    const Faults faults("statfs", 1, ENOENT);
    CHECK(sys::cgroup_version() == v1);
}
