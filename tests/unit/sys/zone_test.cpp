#include "sys/zone.h"

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using sys::Zone;

namespace {

constexpr int64_t day_s = 86'400;
constexpr int64_t year_1970 = 0;
constexpr int64_t year_2026 = 1'767'225'600;
constexpr int64_t year_2060 = 2'840'140'800;

// The C library under the same TZ.
class Oracle {
  public:
    explicit Oracle(const char* tz) {
        if (tz == nullptr) {
            unsetenv("TZ");
        } else {
            setenv("TZ", tz, 1);
        }
        tzset();
    }
    Oracle(const Oracle&) = delete;
    Oracle& operator=(const Oracle&) = delete;
    ~Oracle() {
        unsetenv("TZ");
        tzset();
    }

    [[nodiscard]] int32_t offset_at(int64_t unix_seconds) const {
        const time_t time = unix_seconds;
        std::tm parts{};
        (void)localtime_r(&time, &parts);
        return static_cast<int32_t>(parts.tm_gmtoff);
    }

    // The first second at which another offset holds than at `from`, which is so at `until`.
    [[nodiscard]] int64_t change_between(int64_t from, int64_t until) const {
        const int32_t before = offset_at(from);
        while (until - from > 1) {
            const int64_t middle = from + (until - from) / 2;
            (offset_at(middle) == before ? from : until) = middle;
        }
        return until;
    }
};

// Compares from day to day, and on both sides of each change; returns how many changes there were.
int compare(const char* tz, int64_t from, int64_t until, int64_t step = day_s) {
    const Oracle oracle{tz};
    Zone zone = Zone::create(tz);
    Zone backwards = Zone::create(tz);
    int changes = 0;
    CAPTURE(tz == nullptr ? "(not set)" : tz);
    int32_t last = oracle.offset_at(from);
    const auto check = [&](int64_t at) {
        const int32_t expected = oracle.offset_at(at);
        const int32_t offset = zone.offset_at(at);
        if (offset != expected) {
            CAPTURE(at);
            REQUIRE(offset == expected);
        }
        return offset;
    };
    for (int64_t at = from; at < until; at += step) {
        const int32_t offset = check(at);
        if (offset != last) {
            ++changes;
            const int64_t change = oracle.change_between(at - step, at);
            check(change - 1);
            check(change);
            REQUIRE(backwards.offset_at(change) == oracle.offset_at(change));
            REQUIRE(backwards.offset_at(change - 1) == oracle.offset_at(change - 1));
        }
        last = offset;
    }
    return changes;
}

// A file of its own, gone at the end.
class ZoneFile {
  public:
    explicit ZoneFile(const std::string& content) {
        const int fd = mkstemp(path_);
        REQUIRE(fd >= 0);
        REQUIRE(::write(fd, content.data(), content.size()) ==
                static_cast<ssize_t>(content.size()));
        ::close(fd);
    }
    ZoneFile(const ZoneFile&) = delete;
    ZoneFile& operator=(const ZoneFile&) = delete;
    ~ZoneFile() { ::unlink(path_); }

    [[nodiscard]] const char* path() const { return path_; }

  private:
    char path_[32] = "/tmp/mote-zone-test-XXXXXX";
};

std::string content_of(const std::string& zone) {
    std::ifstream file{"/usr/share/zoneinfo/" + zone, std::ios::binary};
    REQUIRE(file.good());
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string big_endian(uint64_t value, size_t size) {
    std::string text;
    while (size-- > 0) {
        text += static_cast<char>(value >> (8 * size));
    }
    return text;
}

struct Type {
    int32_t offset_s;
};

// One header and its data, with times of `time_size` bytes.
std::string zone_data(char version,
                      size_t time_size,
                      const std::vector<int64_t>& times,
                      const std::vector<uint8_t>& kinds,
                      const std::vector<Type>& types,
                      const std::string& names = {"ABC\0", 4}) {
    const size_t leap_seconds = 3;
    std::string text = "TZif";
    text += version;
    text += std::string(15, '\0');
    for (const size_t count :
         {types.size(), types.size(), leap_seconds, times.size(), types.size(), names.size()}) {
        text += big_endian(count, 4);
    }
    for (const int64_t time : times) {
        text += big_endian(static_cast<uint64_t>(time), time_size);
    }
    text.append(kinds.begin(), kinds.end());
    for (const Type& type : types) {
        text += big_endian(static_cast<uint32_t>(type.offset_s), 4) + std::string(2, '\0');
    }
    // Bytes of what is not looked at: leap seconds, two kinds of indicators.
    return text + names + std::string(leap_seconds * (time_size + 4) + 2 * types.size(), '\x01');
}

int open_descriptors() {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) {
        count += fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    }
    return count;
}

int32_t offset_once(const char* tz, int64_t at) {
    Zone zone = Zone::create(tz);
    return zone.offset_at(at);
}

} // namespace

TEST_CASE("a zone is small and asks nothing while it is made") {
    static_assert(sizeof(Zone) <= 48);
    constexpr Zone zone = Zone::create("Europe/Berlin");
    (void)zone;
}

TEST_CASE("offsets are those of the system's zone files from 1970 to 2060 (regression 61)") {
    struct {
        const char* name;
        int changes_min;
    } const zones[] = {
        {"Asia/Kolkata", 0},
        {"America/St_Johns", 150},
        {"Pacific/Chatham", 140},
        {"Pacific/Apia", 8},
        {"Europe/Dublin", 150},
        {"Africa/Casablanca", 120},
        {"Antarctica/Troll", 100},
        {"America/Nuuk", 150},
        {"Europe/Berlin", 150},
        {"Europe/London", 150},
        {"America/New_York", 170},
        {"America/Los_Angeles", 170},
        {"America/Sao_Paulo", 50},
        {"America/Caracas", 2},
        {"America/Scoresbysund", 150},
        {"America/Havana", 150},
        {"America/Asuncion", 70},
        {"America/Santiago", 150},
        {"America/Mexico_City", 40},
        {"America/Phoenix", 0},
        {"Asia/Tokyo", 0},
        {"Asia/Shanghai", 10},
        {"Asia/Kathmandu", 1},
        {"Asia/Tehran", 60},
        {"Asia/Gaza", 150},
        {"Asia/Jerusalem", 140},
        {"Asia/Pyongyang", 2},
        {"Asia/Colombo", 3},
        {"Asia/Kolkata", 0},
        {"Asia/Amman", 70},
        {"Australia/Lord_Howe", 150},
        {"Australia/Sydney", 150},
        {"Australia/Eucla", 8},
        {"Australia/Adelaide", 150},
        {"Africa/Cairo", 100},
        {"Africa/Monrovia", 1},
        {"Africa/Johannesburg", 0},
        {"Africa/Juba", 10},
        {"Antarctica/Casey", 10},
        {"Atlantic/Azores", 150},
        {"Pacific/Kiritimati", 2},
        {"Pacific/Norfolk", 80},
        {"Pacific/Fiji", 20},
        {"Pacific/Easter", 150},
        {"Europe/Moscow", 60},
        {"Europe/Istanbul", 70},
        {"Europe/Volgograd", 50},
        {"Pacific/Auckland", 150},
        {"UTC", 0},
        {"Etc/GMT+12", 0},
        {"CST6CDT", 150},
    };
    static_assert(std::size(zones) > 40);
    for (const auto& zone : zones) {
        CAPTURE(zone.name);
        REQUIRE(compare(zone.name, year_1970, year_2060) >= zone.changes_min);
    }
}

TEST_CASE("all geographical zones of the system agree over the years around now") {
    std::ifstream table{"/usr/share/zoneinfo/zone1970.tab"};
    int count = 0;
    for (std::string line; std::getline(table, line);) {
        if (line.empty() || line[0] == '#') {
            continue;
        }
        const size_t begin = line.find('\t', line.find('\t') + 1) + 1;
        const std::string name = line.substr(begin, line.find('\t', begin) - begin);
        (void)compare(name.c_str(), year_2026 - 365 * day_s, year_2026 + 730 * day_s, 10 * day_s);
        ++count;
    }
    REQUIRE(count > 250);
}

TEST_CASE("rules without a file are those of POSIX, as the C library reads them") {
    for (const char* rule : {"UTC0",
                             "<+0530>-5:30",
                             "<-03>3",
                             "ABC-12:34:56",
                             "<A+1-b>11:59",
                             "CET-1CEST,M3.5.0,M10.5.0/3",
                             "EST5EDT4,M3.2.0,M11.1.0",
                             "AAA3BBB,J60,J300",
                             "AAA3BBB,J59/0,J60/24:00:01",
                             "AAA3BBB,59,300/-2:30",
                             "AAA-3BBB-5,20/0,340/23:59:59",
                             "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
                             "AEST-10AEDT,M10.1.0,M4.1.0/3",
                             "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
                             "NZST-12NZDT,M9.5.0,M4.1.0/3",
                             "EET-2EEST,M3.4.4/50,M10.4.4/50",
                             "AAA0BBB,M2.5.1/0,M12.4.2/1",
                             "IST-1GMT0,M10.5.0,M3.5.0/1",
                             "AAA24BBB,M1.3.0,M12.1.6",
                             "AAA-24,M1.1.0,M12.5.6"}) {
        CAPTURE(rule);
        if (std::strcmp(rule, "AAA-24,M1.1.0,M12.5.6") == 0) {
            REQUIRE(offset_once(rule, year_2026) == 0); // dates, but no name: no rule at all
            continue;
        }
        (void)compare(rule, year_1970, year_2060);
        (void)compare((std::string{":"} + rule).c_str(), year_2026, year_2026 + 365 * day_s);
    }
}

TEST_CASE("a rule without dates means the United States'") {
    for (int64_t at = year_2026; at < year_2060; at += 5 * day_s) {
        REQUIRE(offset_once("XXX5YYY", at) == offset_once("XXX5YYY,M3.2.0,M11.1.0", at));
    }
    REQUIRE(offset_once("XXX5YYY", year_2026) == -18'000);
    REQUIRE(offset_once("XXX5YYY", year_2026 + 180 * day_s) == -14'400);
    REQUIRE(offset_once("XXX5YYY3:30", year_2026 + 180 * day_s) == -12'600);
}

TEST_CASE("a summer without end and one without length are all of the year and none of it") {
    // RFC 9636 gives the first one as the way to write it.
    for (int64_t at = year_2026 - 3 * day_s; at < year_2026 + 400 * day_s; at += 3'599) {
        REQUIRE(offset_once("XXX3EDT4,0/0,J365/23", at) == -14'400);
        REQUIRE(offset_once("XXX3YYY3,J100,J100", at) == -10'800);
    }
}

TEST_CASE("changes may lie days outside their year") {
    // 167 hours after the end of 31 December; before 1 January by as much.
    const char* const rule = "AAA0BBB,J365/167,J180/-167";
    const int64_t begins = year_2026 + 365 * day_s - day_s + 167 * 3'600;
    const int64_t ends = year_2026 + 179 * day_s - 167 * 3'600 - 3'600;
    REQUIRE(offset_once(rule, begins - 1) == 0);
    REQUIRE(offset_once(rule, begins) == 3'600);
    REQUIRE(offset_once(rule, begins - 365 * day_s - 1) == 0);
    REQUIRE(offset_once(rule, begins - 365 * day_s) == 3'600);
    REQUIRE(offset_once(rule, ends - 1) == 3'600);
    REQUIRE(offset_once(rule, ends) == 0);
}

TEST_CASE("unset, empty and bogus zones do what glibc does (regression 61)") {
    (void)compare(nullptr, year_2026 - 300 * day_s, year_2026 + 300 * day_s);
    for (const char* utc : {"",
                            ":",
                            "No/Such_Zone",
                            "bogus",
                            "/no/such/file",
                            "..",
                            "/",
                            ".",
                            "Europe",
                            "Europe/",
                            "/usr/share/zoneinfo",
                            "/dev/null",
                            "/etc/passwd",
                            "12",
                            "AB3",
                            "<AB>",
                            "<>3",
                            "<AB3",
                            "ABC25",
                            "ABC3DEF,",
                            "ABC3DEF,M3.2.0",
                            "ABC3DEF,M0.1.0,M11.1.0",
                            "ABC3DEF,M13.1.0,M11.1.0",
                            "ABC3DEF,M3.0.0,M11.1.0",
                            "ABC3DEF,M3.6.0,M11.1.0",
                            "ABC3DEF,M3.1.7,M11.1.0",
                            "ABC3DEF,J0,J300",
                            "ABC3DEF,J366,J3",
                            "ABC3DEF,366,3",
                            "ABC3DEF,J1/168,J3",
                            "ABC3:60",
                            "ABC3:",
                            "ABC+",
                            "ABC3DEF,J1,J2,",
                            "ABC3DEF,J1,J2x",
                            "ABC3 ",
                            "ABC0003",
                            "\xff\xfe",
                            "::Europe/Berlin"}) {
        CAPTURE(utc);
        REQUIRE(offset_once(utc, year_2026) == 0);
        REQUIRE(offset_once(utc, year_2026 + 180 * day_s) == 0);
    }
    const std::string long_name(5'000, 'x');
    REQUIRE(offset_once(long_name.c_str(), year_2026) == 0);
    REQUIRE(offset_once((long_name + "5").c_str(), year_2026) == -18'000);
}

TEST_CASE("a path, a name and a colon in front of either lead to the same file") {
    for (const char* tz : {"Asia/Kolkata",
                           ":Asia/Kolkata",
                           "/usr/share/zoneinfo/Asia/Kolkata",
                           ":/usr/share/zoneinfo/Asia/Kolkata",
                           "../zoneinfo/Asia/Kolkata"}) {
        CAPTURE(tz);
        REQUIRE(offset_once(tz, year_2026) == 19'800);
    }
}

TEST_CASE("a change of the clock while running is seen, and nothing is read in between") {
    const ZoneFile file{content_of("Europe/Berlin")};
    Zone zone = Zone::create(file.path());
    constexpr int64_t summer_2026 = 1'774'746'000; // 29 March, 01:00 UTC
    constexpr int64_t winter_2026 = 1'792'890'000; // 25 October, 01:00 UTC
    REQUIRE(zone.offset_at(summer_2026 - 1) == 3'600);
    REQUIRE(zone.offset_at(summer_2026) == 7'200);
    REQUIRE(zone.offset_at(winter_2026 - 1) == 7'200);
    // Until the next change the file is not needed.
    REQUIRE(::truncate(file.path(), 0) == 0);
    REQUIRE(zone.offset_at(summer_2026) == 7'200);
    REQUIRE(zone.offset_at(winter_2026 - 1) == 7'200);
    // When it is needed and not there, the offset stays; when it is back, it is read again.
    REQUIRE(zone.offset_at(winter_2026) == 7'200);
    std::ofstream{file.path(), std::ios::binary} << content_of("Europe/Berlin");
    REQUIRE(zone.offset_at(winter_2026 + 59) == 7'200);
    REQUIRE(zone.offset_at(winter_2026 + 60) == 3'600);
    // Back in time too.
    REQUIRE(zone.offset_at(summer_2026) == 7'200);
}

TEST_CASE("no descriptor stays open") {
    const int before = open_descriptors();
    for (const char* tz : {"Europe/Berlin", "/etc/passwd", "Europe", "No/Such", "UTC0"}) {
        (void)offset_once(tz, year_2026);
    }
    REQUIRE(open_descriptors() == before);
}

TEST_CASE("a fifo in the place of a zone file does not hold us up") {
    char directory[] = "/tmp/mote-zone-test-XXXXXX";
    REQUIRE(mkdtemp(directory) != nullptr);
    const std::string fifo = std::string{directory} + "/fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    REQUIRE(offset_once(fifo.c_str(), year_2026) == 0);
    ::unlink(fifo.c_str());
    ::rmdir(directory);
}

TEST_CASE("files of every version are read") {
    const std::vector<Type> types{{3'600}, {7'200}, {-1'800}};
    const ZoneFile first{zone_data('\0', 4, {-100, 100, 200}, {1, 2, 1}, types)};
    Zone zone = Zone::create(first.path());
    for (const auto& [at, offset_s] :
         std::vector<std::pair<int64_t, int32_t>>{{INT64_MIN, 3'600},
                                                  {-101, 3'600},
                                                  {-100, 7'200},
                                                  {99, 7'200},
                                                  {100, -1'800},
                                                  {199, -1'800},
                                                  {200, 7'200},
                                                  {INT64_MAX, 7'200}}) {
        CAPTURE(at);
        REQUIRE(zone.offset_at(at) == offset_s);
        REQUIRE(offset_once(first.path(), at) == offset_s);
    }

    // From version 2 on the first data are not looked at; the rule holds after the last change.
    const std::string old_data = zone_data('2', 4, {0}, {0}, {{-7'200}});
    const std::string new_data = zone_data('2', 8, {-5'000'000'000, 5'000'000'000}, {1, 2}, types);
    const ZoneFile second{old_data + new_data + "\nXXX-5\n"};
    REQUIRE(offset_once(second.path(), -5'000'000'001) == 3'600);
    REQUIRE(offset_once(second.path(), -5'000'000'000) == 7'200);
    REQUIRE(offset_once(second.path(), 4'999'999'999) == 7'200);
    REQUIRE(offset_once(second.path(), 5'000'000'000) == 18'000);
    Zone later = Zone::create(second.path());
    REQUIRE(later.offset_at(5'000'000'000) == 18'000);
    REQUIRE(later.offset_at(4'999'999'999) == 7'200);

    // Without a rule, or with one that is none, the last type stays; without changes, the first.
    for (const char* rule : {"", "\n\n", "\nXXX\n", "\nXXX-5", "XXX-5\n"}) {
        CAPTURE(rule);
        const ZoneFile no_rule{old_data + new_data + rule};
        REQUIRE(offset_once(no_rule.path(), 6'000'000'000) == -1'800);
        const ZoneFile no_change{old_data + zone_data('3', 8, {}, {}, types) + rule};
        REQUIRE(offset_once(no_change.path(), 0) == 3'600);
    }
    const ZoneFile rule_only{old_data + zone_data('4', 8, {}, {}, types) + "\nXXX-5\n"};
    REQUIRE(offset_once(rule_only.path(), 0) == 18'000);
}

TEST_CASE("a zone file that is cut off anywhere gives UTC or an offset that it still has") {
    const std::string whole = content_of("Europe/Berlin");
    const std::set<int32_t> expected{0, 3'600};
    size_t utc = 0;
    for (size_t size = 0; size < whole.size();
         size += size < 100 || size > whole.size() - 60 ? 1 : 7) {
        const ZoneFile cut{whole.substr(0, size)};
        const int32_t offset_s = offset_once(cut.path(), year_2026);
        CAPTURE(size);
        REQUIRE(expected.contains(offset_s));
        utc += offset_s == 0 ? 1 : 0;
    }
    REQUIRE(utc > 100);
    const ZoneFile uncut{whole};
    REQUIRE(offset_once(uncut.path(), year_2026) == 3'600);
}

TEST_CASE("a hostile zone file gives UTC") {
    const auto zone_of = [](int64_t offset_s, uint8_t kind) {
        return zone_data('\0', 4, {-100}, {kind}, {{static_cast<int32_t>(offset_s)}});
    };
    const auto answer = [](const std::string& content) {
        const ZoneFile file{content};
        return offset_once(file.path(), year_2026);
    };
    REQUIRE(answer(zone_of(93'599, 0)) == 93'599);
    REQUIRE(answer(zone_of(-89'999, 0)) == -89'999);
    REQUIRE(answer(zone_of(93'600, 0)) == 0);
    REQUIRE(answer(zone_of(-90'000, 0)) == 0);
    REQUIRE(answer(zone_of(INT32_MIN, 0)) == 0);
    // Types that are not there, although what is in their place might be one.
    const std::string like_a_type = big_endian(7'200, 4) + std::string(2, '\0');
    REQUIRE(answer(zone_data('\0', 4, {-100}, {1}, {{3'600}}, like_a_type)) == 0);
    REQUIRE(answer(zone_of(3'600, 255)) == 0);
    std::string counts = zone_of(3'600, 0);
    REQUIRE(answer(counts) == 3'600);
    for (size_t at = 20; at < 44; ++at) {
        std::string bad = counts;
        bad.replace(at, 1, "\xff");
        const int32_t offset_s = answer(bad);
        REQUIRE((offset_s == 0 || offset_s == 3'600));
    }
    counts.replace(20, 24, 24, '\xff');
    REQUIRE(answer(counts) == 0);
    counts[4] = '2';
    REQUIRE(answer(counts) == 0);
    REQUIRE(answer(zone_data('\0', 4, {}, {}, {})) == 0);
    REQUIRE(answer("TZif") == 0);
    REQUIRE(answer("tzif" + zone_of(3'600, 0).substr(4)) == 0);
}

TEST_CASE("times at the edge of the numbers are answered") {
    for (const char* tz : {"Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3", "UTC0", "", "nonsense"}) {
        Zone zone = Zone::create(tz);
        for (const int64_t at :
             {INT64_MAX, INT64_MIN, INT64_MAX - 1, int64_t{1} << 40, -(int64_t{1} << 40)}) {
            const int32_t offset_s = zone.offset_at(at);
            REQUIRE((offset_s >= 0 && offset_s <= 7'200));
            REQUIRE(zone.offset_at(at) == offset_s);
        }
    }
}
