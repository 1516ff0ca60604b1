#include "sys/memory.h"

#include "sys/calls.h"

#ifdef MOTE_RESIDENT_SCRIPT
// Made by the linker; the second one by scripts/resident.ld.
extern "C" {
[[gnu::visibility("hidden")]] extern std::byte __executable_start;
[[gnu::visibility("hidden")]] extern std::byte mote_resident_begin;
}
#endif

namespace sys {

namespace {

// As much of the stack as could have been used below here, and not so much as to meet another
// mapping.
constexpr uintptr_t stack_depth_max = 128 * 1024;

// What the calls from here on use of it themselves.
constexpr uintptr_t frames_below = 512;

// The kernel's pages, which are not 4 kB everywhere: it would round a range up to whole ones, and
// take what lies behind it too.
uintptr_t page_size() {
    return static_cast<uintptr_t>(sys::getpagesize());
}

uintptr_t page_below(uintptr_t address) {
    return address & ~(page_size() - 1);
}

uintptr_t page_above(uintptr_t address) {
    return page_below(address + page_size() - 1);
}

void advise(uintptr_t begin, uintptr_t end, int advice) {
    if (begin < end) {
        // A refusal costs memory and nothing else.
        (void)sys::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
    }
}

void release_code() {
#ifdef MOTE_RESIDENT_SCRIPT // a link without the script keeps all code
    const uintptr_t begin = page_below(reinterpret_cast<uintptr_t>(&__executable_start));
    const uintptr_t end = page_below(reinterpret_cast<uintptr_t>(&mote_resident_begin));
    // Two mappings differ by their advice, which keeps faults in one out of the other.
    advise(begin, end, MADV_RANDOM);
    advise(begin, end, MADV_DONTNEED);
#endif
}

} // namespace

[[gnu::noinline]] void release_startup_memory() {
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    const uintptr_t end = page_below(here - frames_below);
    advise(end - stack_depth_max, end, MADV_DONTNEED);
    release_code();
}

void release_pages(base::MutableBytes bytes) {
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
    advise(page_above(begin), page_below(begin + bytes.size()), MADV_DONTNEED);
}

} // namespace sys
