#include "base/find.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using base::Bytes;
using base::find_newline;
using base::NewlineScan;

namespace {

std::vector<size_t> scanned(Bytes bytes) {
    std::vector<size_t> offsets;
    NewlineScan scan{bytes};
    for (size_t at = scan.next(); at != bytes.size(); at = scan.next()) {
        offsets.push_back(at);
        if (offsets.size() > bytes.size()) {
            break; // it repeats itself
        }
    }
    return offsets;
}

std::vector<size_t> looked_up(Bytes bytes) {
    std::vector<size_t> offsets;
    for (size_t at = 0; at < bytes.size(); ++at) {
        if (bytes[at] == std::byte{'\n'}) {
            offsets.push_back(at);
        }
    }
    return offsets;
}

// Three pages, of which only the middle one may be touched.
class FencedPage {
  public:
    FencedPage() {
        page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        void* all = mmap(nullptr, 3 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(all != MAP_FAILED);
        begin_ = static_cast<char*>(all) + page_;
        REQUIRE(mprotect(begin_, page_, PROT_READ | PROT_WRITE) == 0);
    }
    FencedPage(const FencedPage&) = delete;
    FencedPage& operator=(const FencedPage&) = delete;
    ~FencedPage() { munmap(begin_ - page_, 3 * page_); }

    char* begin() { return begin_; }
    char* end() { return begin_ + page_; }

  private:
    size_t page_ = 0;
    char* begin_ = nullptr;
};

Bytes bytes_at(const char* at, size_t size) {
    return base::bytes_of({at, size});
}

} // namespace

TEST_CASE("a single newline is found at every place of every size and alignment") {
    FencedPage page;
    for (size_t size = 0; size <= 200; ++size) {
        for (size_t alignment = 0; alignment < 64; ++alignment) {
            char* at = page.begin() + alignment;
            // Newlines on both sides, which are none of the span's.
            std::memset(page.begin(), '\n', 512);
            std::memset(at, 'x', size);
            if (find_newline(bytes_at(at, size)) != size) {
                CAPTURE(size, alignment);
                FAIL("found where there is none");
            }
            for (size_t place = 0; place < size; ++place) {
                at[place] = '\n';
                if (scanned(bytes_at(at, size)) != std::vector<size_t>{place}) {
                    CAPTURE(size, alignment, place);
                    FAIL("not found");
                }
                at[place] = 'x';
            }
        }
    }
}

TEST_CASE("nothing before and nothing after the span is read") {
    FencedPage page;
    const auto whole = static_cast<size_t>(page.end() - page.begin());
    std::memset(page.begin(), 'x', whole);
    for (size_t size = 0; size <= 300; ++size) {
        REQUIRE(find_newline(bytes_at(page.begin(), size)) == size);
        REQUIRE(find_newline(bytes_at(page.end() - size, size)) == size);
    }
    REQUIRE(find_newline(bytes_at(page.begin(), whole)) == whole);
}

TEST_CASE("every byte value but the newline's is not a newline") {
    // Also beside one: a borrow from a neighbour must not make a newline of it.
    for (int value = 0; value < 256; ++value) {
        std::string text(64 + 9, static_cast<char>(value));
        text[3] = '\n';
        text[66] = '\n';
        const std::vector<size_t> expected{3, 66};
        if (value != '\n') {
            CAPTURE(value);
            REQUIRE(scanned(base::bytes_of(text)) == expected);
        }
    }
}

TEST_CASE("all newlines of random bytes come in order, as a naive loop finds them") {
    std::mt19937_64 random{1'000'003};
    for (int turn = 0; turn < 3'000; ++turn) {
        // Bytes near the newline's value, so that mistakes in single bits show.
        const size_t size = random() % 700;
        const size_t rarity = 1 + random() % 200;
        std::string text(size, ' ');
        for (char& one : text) {
            one = random() % rarity == 0 ? '\n' : static_cast<char>('\n' ^ (1U << random() % 8));
        }
        const Bytes bytes = base::bytes_of(text);
        const std::vector<size_t> expected = looked_up(bytes);
        if (scanned(bytes) != expected) {
            CAPTURE(turn, size);
            REQUIRE(scanned(bytes) == expected);
        }
        REQUIRE(find_newline(bytes) == (expected.empty() ? size : expected.front()));
    }
}

TEST_CASE("a span of 64 newlines and one more is handed out whole") {
    const std::string text(65, '\n');
    REQUIRE(scanned(base::bytes_of(text)).size() == 65);
    REQUIRE(scanned(base::bytes_of("")).empty());
}

TEST_CASE("a scan that is at its end stays there") {
    NewlineScan scan{base::bytes_of("a\nb")};
    REQUIRE(scan.next() == 1);
    REQUIRE(scan.next() == 3);
    REQUIRE(scan.next() == 3);
}
