// A zone file (RFC 9636):
//
//     header, data of version 1 with times of 4 bytes
//     header, data with times of 8 bytes, '\n' rule '\n'      from version 2 on
//
//     data: times of change, type of each change, types of local time, names, leap seconds, two
//           kinds of indicators; the header says how many there are of each
//
// It is read with pread(2), a few bytes at a time: a buffer for a whole file would stay resident as
// a page of our stack.

#include "sys/zone.h"

#include "base/text.h"
#include "sys/calls.h"
#include "sys/fd.h"

#include <algorithm>
#include <span>

namespace sys {

namespace {

constexpr std::string_view zone_directory = "/usr/share/zoneinfo/";
constexpr const char* local_zone_path = "/etc/localtime";
constexpr size_t zone_path_max = 255;

// A zone that cannot be read is tried again when as much time has gone by.
constexpr int64_t retry_s = 60;

// No time farther away from 1970 is looked up: some 17,000 years.
constexpr int64_t time_max = int64_t{1} << 39;

// RFC 9636, 3.2: offsets outside these are not to be had.
constexpr int64_t offset_min_s = -89'999;
constexpr int64_t offset_max_s = 93'599;

// A number of up to 8 bytes with a sign, the highest first.
int64_t number_of(std::span<const uint8_t> bytes) {
    uint64_t value = (bytes[0] & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (const uint8_t byte : bytes) {
        value = value << 8 | byte;
    }
    return static_cast<int64_t>(value);
}

// Bytes at any place of a file. What the file does not have is read as 0 and remembered.
class ZoneFile {
  public:
    explicit ZoneFile(FdRef file) : file_{file} {}

    [[nodiscard]] bool failed() const { return failed_; }
    void fail() { failed_ = true; }

    // Up to bytes.size() bytes; returns how many there are.
    size_t read_some(int64_t at, std::span<uint8_t> bytes) {
        const ssize_t count = sys::pread(file_.number(), bytes.data(), bytes.size(), at);
        return count < 0 ? 0 : static_cast<size_t>(count);
    }

    void read(int64_t at, std::span<uint8_t> bytes) {
        if (read_some(at, bytes) != bytes.size()) {
            fail();
        }
    }

    int64_t number(int64_t at, size_t size) {
        uint8_t bytes[8] = {};
        read(at, {bytes, size});
        return number_of({bytes, size});
    }

  private:
    FdRef file_;
    bool failed_ = false;
};

// One header and where its data are. The counts have 32 bits, so no sum here overflows.
struct ZoneData {
    static constexpr int64_t header_size = 44;
    static constexpr int64_t type_size = 6;

    int64_t times_at = 0;
    int64_t time_size = 0;
    int64_t time_count = 0;
    int64_t type_count = 0;
    int64_t end = 0;
    bool has_successor = false; // data with longer times come after these

    [[nodiscard]] int64_t kinds_at() const { return times_at + time_count * time_size; }
    [[nodiscard]] int64_t types_at() const { return kinds_at() + time_count; }
};

ZoneData data_at(ZoneFile& file, int64_t at, int64_t time_size) {
    constexpr int64_t magic = 0x545a'6966; // "TZif"
    uint8_t header[ZoneData::header_size] = {};
    file.read(at, header);
    if (number_of({header, 4}) != magic) {
        file.fail();
    }
    const auto count_at = [&header](size_t place) {
        return number_of(std::span{header}.subspan(place, 4)) & 0xffff'ffff;
    };
    ZoneData data{
        .times_at = at + ZoneData::header_size,
        .time_size = time_size,
        .time_count = count_at(32),
        .type_count = count_at(36),
        .has_successor = header[4] != 0,
    };
    const int64_t indicators = count_at(20) + count_at(24);
    const int64_t leap_seconds = count_at(28);
    const int64_t names_size = count_at(40);
    data.end = data.types_at() + data.type_count * ZoneData::type_size + names_size +
               leap_seconds * (time_size + 4) + indicators;
    return data;
}

// The rule for the time after the last change, between two newlines.
std::optional<ZoneRule> rule_at(ZoneFile& file, int64_t at) {
    uint8_t bytes[128];
    const std::string_view text{reinterpret_cast<const char*>(bytes), file.read_some(at, bytes)};
    const size_t end = text.find('\n', 1);
    if (end == std::string_view::npos || text[0] != '\n') {
        return std::nullopt;
    }
    return ZoneRule::parse({text.data() + 1, end - 1});
}

// Nothing if this is not a zone file, or not a whole one.
std::optional<ZoneInterval> interval_in(ZoneFile& file, int64_t unix_seconds) {
    ZoneData data = data_at(file, 0, 4);
    const bool has_rule = data.has_successor;
    if (has_rule && !file.failed()) {
        data = data_at(file, data.end, 8);
    }
    if (file.failed() || data.type_count == 0) {
        return std::nullopt;
    }

    // Of the changes, `before` is the number of those that are not in the future.
    ZoneInterval interval;
    int64_t before = 0;
    for (int64_t after = data.time_count; before != after && !file.failed();) {
        const int64_t middle = before + (after - before) / 2;
        const int64_t time = file.number(data.times_at + middle * data.time_size,
                                         static_cast<size_t>(data.time_size));
        if (time <= unix_seconds) {
            before = middle + 1;
            interval.from = time;
        } else {
            after = middle;
            interval.until = time;
        }
    }
    if (has_rule && before == data.time_count) {
        if (const auto rule = rule_at(file, data.end)) {
            ZoneInterval by_rule = rule->interval_at(unix_seconds);
            by_rule.from = std::max(by_rule.from, interval.from);
            return file.failed() ? std::nullopt : std::optional{by_rule};
        }
    }
    // The time before the first change has the first type.
    const int64_t type = before == 0 ? 0 : file.number(data.kinds_at() + before - 1, 1) & 0xff;
    const int64_t offset_s = file.number(data.types_at() + type * ZoneData::type_size, 4);
    if (file.failed() || type >= data.type_count || offset_s < offset_min_s ||
        offset_s > offset_max_s) {
        return std::nullopt;
    }
    interval.offset_s = static_cast<int32_t>(offset_s);
    return interval;
}

std::optional<ZoneInterval> interval_in_file(const char* path, int64_t unix_seconds) {
    // What is not a file, such as a fifo, does not hold us up and has nothing at a place.
    const Fd fd{sys::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (!fd.valid()) {
        return std::nullopt;
    }
    ZoneFile file{fd};
    return interval_in(file, unix_seconds);
}

std::optional<ZoneInterval> interval_of(const char* tz, int64_t unix_seconds) {
    if (tz == nullptr) {
        return interval_in_file(local_zone_path, unix_seconds);
    }
    const char* const name = *tz == ':' ? tz + 1 : tz;
    if (*name == '\0') {
        return ZoneInterval{};
    }
    if (*name == '/') {
        return interval_in_file(name, unix_seconds);
    }
    base::Text<zone_path_max> path{zone_directory};
    path.put(name);
    if (!path.overflowed()) {
        if (const auto interval = interval_in_file(path.c_str(), unix_seconds)) {
            return interval;
        }
    }
    if (const auto rule = ZoneRule::parse(name)) {
        return rule->interval_at(unix_seconds);
    }
    return std::nullopt;
}

} // namespace

void Zone::find_interval(int64_t unix_seconds) {
    const int64_t near = std::clamp(unix_seconds, -time_max, time_max);
    if (const auto interval = interval_of(tz_, near)) {
        interval_ = *interval;
        return;
    }
    // What cannot be read now, for want of descriptors or because the file is being replaced,
    // leaves the offset as it is: UTC at the beginning.
    interval_.from = near;
    interval_.until = near + retry_s;
}

} // namespace sys
