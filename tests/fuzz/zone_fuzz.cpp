// Any bytes as a zone file, and any text as the value of TZ: never more than a wrong offset, and
// the answer does not depend on what was asked before.

#include "sys/zone.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

// A file without a name, and the path by which it can be opened all the same.
class NamelessFile {
  public:
    NamelessFile() : fd_{memfd_create("zone", MFD_CLOEXEC)} {
        must(fd_ >= 0);
        (void)std::snprintf(path_.data(), path_.size(), "/proc/self/fd/%d", fd_);
    }

    void fill(std::string_view content) {
        must(ftruncate(fd_, 0) == 0);
        must(pwrite(fd_, content.data(), content.size(), 0) ==
             static_cast<ssize_t>(content.size()));
    }

    [[nodiscard]] const char* path() const { return path_.data(); }

  private:
    int fd_;
    std::array<char, 40> path_{};
};

// A zone file as the format's description has it, read from its beginning to its end.
class ZoneModel {
  public:
    explicit ZoneModel(std::string_view content) : rest_{content} {
        read_data(4);
        if (has_more_ && sound_) {
            times_.clear();
            read_data(8);
            if (const size_t end = rest_.find('\n', 1);
                end != rest_.npos && rest_[0] == '\n' && end < 128) {
                rule_ = sys::ZoneRule::parse(rest_.substr(1, end - 1));
            }
        }
        sorted_ = std::is_sorted(times_.begin(), times_.end(), std::less_equal{});
    }

    // Whether there is no doubt what the file says.
    [[nodiscard]] bool sorted() const { return sorted_ && sound_; }

    [[nodiscard]] int32_t offset_at(int64_t any_time) const {
        // Nothing farther away is looked up.
        const int64_t time = std::clamp<int64_t>(any_time, -(1LL << 39), 1LL << 39);
        const auto after = std::upper_bound(times_.begin(), times_.end(), time);
        if (after == times_.end() && rule_) {
            return rule_->interval_at(time).offset_s;
        }
        const size_t kind =
            after == times_.begin() ? 0 : static_cast<uint8_t>(kinds_[after - times_.begin() - 1]);
        if (kind >= types_.size() / 6) {
            return 0;
        }
        const int64_t offset_s = number(types_.substr(6 * kind, 4));
        return offset_s < -89'999 || offset_s > 93'599 ? 0 : static_cast<int32_t>(offset_s);
    }

  private:
    static int64_t number(std::string_view bytes) {
        int64_t value = static_cast<int8_t>(bytes[0]);
        for (const char one : bytes.substr(1)) {
            value = value * 256 + static_cast<uint8_t>(one);
        }
        return value;
    }

    std::string_view take(uint64_t size) {
        sound_ = sound_ && rest_.size() >= size;
        const std::string_view taken = sound_ ? rest_.substr(0, size) : std::string_view{};
        rest_.remove_prefix(taken.size());
        return taken;
    }

    void read_data(size_t time_size) {
        const std::string_view header = take(44);
        sound_ = sound_ && header.substr(0, 4) == "TZif";
        if (!sound_) {
            return;
        }
        has_more_ = header[4] != '\0';
        std::array<uint64_t, 6> counts{};
        for (size_t at = 0; at < counts.size(); ++at) {
            counts[at] = static_cast<uint32_t>(number(header.substr(20 + 4 * at, 4)));
        }
        const std::string_view times = take(counts[3] * time_size);
        kinds_ = take(counts[3]);
        types_ = take(counts[4] * 6);
        for (size_t at = 0; at < times.size(); at += time_size) {
            times_.push_back(number(times.substr(at, time_size)));
        }
        (void)take(counts[5] + counts[2] * (time_size + 4) + counts[1] + counts[0]);
        sound_ = sound_ && !types_.empty();
    }

    std::string_view rest_;
    std::vector<int64_t> times_;
    std::string_view kinds_;
    std::string_view types_;
    std::optional<sys::ZoneRule> rule_;
    bool has_more_ = false;
    bool sound_ = true;
    bool sorted_ = false;
};

std::array<int64_t, 10> times_of(int64_t seed) {
    return {0,
            1'767'225'600,
            1'782'864'000,
            seed,
            seed >> 8,
            seed >> 24,
            seed >> 40,
            INT64_MAX,
            INT64_MIN,
            2'840'140'800};
}

bool is_possible(int32_t offset_s) {
    return offset_s > -26 * 3'600 && offset_s < 26 * 3'600;
}

void ask_file(std::string_view content, int64_t seed) {
    static NamelessFile file;
    file.fill(content);
    const ZoneModel model{content};
    sys::Zone used = sys::Zone::create(file.path());
    for (const int64_t time : times_of(seed)) {
        sys::Zone fresh = sys::Zone::create(file.path());
        const int32_t offset_s = fresh.offset_at(time);
        must(is_possible(offset_s) && fresh.offset_at(time) == offset_s);
        must(is_possible(used.offset_at(time)));
        if (model.sorted()) {
            must(offset_s == model.offset_at(time));
            // What cannot be read leaves the offset of the time before.
            must(offset_s == 0 || used.offset_at(time) == offset_s);
        }
    }
}

void ask_text(const char* tz, int64_t seed) {
    sys::Zone used = sys::Zone::create(tz);
    for (const int64_t time : times_of(seed)) {
        const int32_t offset_s = used.offset_at(time);
        must(is_possible(offset_s));
        sys::Zone fresh = sys::Zone::create(tz);
        must(fresh.offset_at(time) == offset_s);
    }
}

} // namespace

// The first byte chooses between a file and a text; eight more are a time to ask for.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 9) {
        return 0;
    }
    uint64_t seed = 0;
    for (size_t at = 1; at < 9; ++at) {
        seed = seed << 8 | data[at];
    }
    const std::string text{reinterpret_cast<const char*>(data + 9), size - 9};
    if ((data[0] & 1U) != 0) {
        ask_file(text, static_cast<int64_t>(seed));
    } else if (text.find('/') == std::string::npos || text.find(',') != std::string::npos) {
        // No other file than those of zones.
        ask_text(text.c_str(), static_cast<int64_t>(seed));
    }
    return 0;
}
