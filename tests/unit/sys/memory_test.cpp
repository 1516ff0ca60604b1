// Memory that is given back, and the clocks.

#include "shadow/faults.h"
#include "sys/clock.h"
#include "sys/memory.h"
#include "unit/sys/ours.h"

#include <algorithm>
#include <cstdint>

#include <sys/mman.h>
#include <time.h>

using shadow::Faults;

TEST_CASE("whole pages are given back and read as zero, parts of pages keep their bytes") {
    constexpr size_t page = 4096;
    constexpr size_t size = 8 * page;
    void* const mapped =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapped != MAP_FAILED);
    const base::MutableBytes bytes{static_cast<std::byte*>(mapped), size};
    const auto is = [&](size_t begin, size_t end, int value) {
        return std::all_of(bytes.begin() + static_cast<ptrdiff_t>(begin),
                           bytes.begin() + static_cast<ptrdiff_t>(end),
                           [=](std::byte byte) { return byte == std::byte(value); });
    };
    std::fill(bytes.begin(), bytes.end(), std::byte{7});
    sys::release_pages(bytes.subspan(100, 3 * page)); // pages 1 and 2
    CHECK(is(0, page, 7));
    CHECK(is(page, 3 * page, 0));
    CHECK(is(3 * page, size, 7));
    sys::release_pages(bytes.subspan(4 * page + 1, page - 2));
    sys::release_pages(bytes.subspan(4 * page + 1, 2 * page - 2));
    sys::release_pages(bytes.subspan(5 * page, 0));
    CHECK(is(4 * page, size, 7));
    sys::release_pages(bytes.subspan(7 * page, page));
    CHECK(is(7 * page, size, 0));
    ::munmap(mapped, size);
}

TEST_CASE("with large pages nothing is given back that shares a page with what is kept") {
    constexpr size_t large = 65536;
    const Faults faults([](const shadow::Call& call) {
        return call.name == "getpagesize" ? shadow::Instead{.at_most = large} : shadow::Instead{};
    });
    void* const mapped =
        ::mmap(nullptr, 4 * large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapped != MAP_FAILED);
    const size_t misplaced = reinterpret_cast<uintptr_t>(mapped) % large;
    const base::MutableBytes bytes{static_cast<std::byte*>(mapped) + (large - misplaced) % large,
                                   3 * large};
    const auto is_kept = [](std::byte byte) { return byte == std::byte{7}; };
    std::fill(bytes.begin(), bytes.end(), std::byte{7});
    sys::release_pages(bytes.first(4096));
    sys::release_pages(bytes.subspan(4096, 2 * large - 4096 - 1));
    CHECK(std::all_of(bytes.begin(), bytes.end(), is_kept));
    sys::release_pages(bytes.subspan(4096, 2 * large));
    CHECK(std::all_of(bytes.begin(), bytes.begin() + large, is_kept));
    CHECK(std::none_of(bytes.begin() + large, bytes.begin() + 2 * large, is_kept));
    CHECK(std::all_of(bytes.begin() + 2 * large, bytes.end(), is_kept));
    ::munmap(mapped, 4 * large);
}

TEST_CASE("giving memory back may be refused without harm") {
    const Faults faults([](const shadow::Call&) { return shadow::Instead{.error = EINVAL}; });
    std::array<std::byte, 3 * 4096> bytes{};
    sys::release_pages(bytes);
    CHECK(faults.fired());
}

TEST_CASE("the clocks are the kernel's") {
    const sys::Instant before = sys::monotonic_ms();
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const sys::Instant kernel = sys::Instant{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
    const sys::Instant after = sys::monotonic_ms();
    CHECK(before <= kernel);
    CHECK(kernel <= after);
    const sys::WallTime wall = sys::wall_time();
    CHECK(std::abs(wall.seconds - ::time(nullptr)) <= 1);
    CHECK(wall.nanoseconds >= 0);
    CHECK(wall.nanoseconds < 1'000'000'000);
}
