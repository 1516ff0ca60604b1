// Descriptors: ownership, close-on-exec from birth, and closing all but a few.

#include "shadow/faults.h"
#include "sys/fd.h"
#include "unit/sys/ours.h"

#include <algorithm>
#include <random>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>

using shadow::Faults;
using sys::Fd;
using sys::FdRef;
using unit::closes_on_exec;
using unit::is_open;
using unit::open_descriptors;

namespace {

Fd any_fd() {
    return Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
}

} // namespace

TEST_CASE("an Fd closes what it owns, once, and keeps errno") {
    const auto before = open_descriptors();
    int number = -1;
    {
        const Fd fd = any_fd();
        number = fd.number();
        REQUIRE(is_open(number));
        errno = ENOTTY;
    }
    CHECK(errno == ENOTTY);
    CHECK_FALSE(is_open(number));
    {
        const Faults faults("close", 1, EIO);
        errno = ENOTTY;
        {
            const Fd fd = any_fd();
        }
        CHECK(errno == ENOTTY);
        CHECK(faults.count("close") == 1);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("an Fd that was moved from owns nothing") {
    Fd one = any_fd();
    const int number = one.number();
    Fd two = std::move(one);
    CHECK_FALSE(one.valid()); // NOLINT(bugprone-use-after-move)
    CHECK(two.number() == number);
    one = any_fd();
    const int other = one.number();
    one = std::move(two);
    CHECK(one.number() == number);
    CHECK_FALSE(is_open(other));
    CHECK(is_open(number));
    const int given = one.release();
    CHECK(given == number);
    CHECK_FALSE(one.valid());
    one.reset();
    CHECK(is_open(number));
    ::close(given);
}

TEST_CASE("reset closes the old descriptor and owns the new one") {
    Fd fd = any_fd();
    const int old = fd.number();
    const int number = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    fd.reset(number);
    CHECK_FALSE(is_open(old));
    CHECK(fd.number() == number);
    CHECK(is_open(number));
}

TEST_CASE("what open_at and make_pipe open is close-on-exec, and non-blocking only if asked for") {
    const auto file = sys::open_at(sys::working_directory(), "/dev/null", O_RDONLY, 0, "open it");
    REQUIRE(file);
    CHECK(closes_on_exec(*file));
    const auto pipe = sys::make_pipe(0);
    REQUIRE(pipe);
    CHECK(closes_on_exec(pipe->read_end));
    CHECK(closes_on_exec(pipe->write_end));
    CHECK_FALSE(unit::is_nonblocking(pipe->read_end));
    const auto quick = sys::make_pipe(O_NONBLOCK);
    REQUIRE(quick);
    CHECK(unit::is_nonblocking(quick->read_end));
    CHECK(unit::is_nonblocking(quick->write_end));
    REQUIRE(sys::set_nonblocking(pipe->read_end));
    CHECK(unit::is_nonblocking(pipe->read_end));
    CHECK((::fcntl(pipe->read_end.number(), F_GETFL) & O_ACCMODE) == O_RDONLY);
}

TEST_CASE("open_at names its step and the reason") {
    const auto file = sys::open_at(sys::working_directory(), "/nowhere/x", O_RDONLY, 0, "open it");
    REQUIRE_FALSE(file);
    CHECK(file.error().code == ENOENT);
    CHECK(file.error().call == "open it");
}

TEST_CASE("set_close_on_exec marks a descriptor, and refuses a number that is not open") {
    const Fd fd{::open("/dev/null", O_RDWR)}; // NOLINT(android-cloexec-open)
    CHECK_FALSE(closes_on_exec(fd));
    REQUIRE(sys::set_close_on_exec(fd));
    CHECK(closes_on_exec(fd));
    const auto refused = sys::set_close_on_exec(FdRef{1'000'000});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EBADF);
}

TEST_CASE(
    "put_null_at_stdio puts /dev/null at 0, 1 and 2, to be inherited, and nothing elsewhere") {
    CHECK(unit::in_copy([]() -> std::string {
              const auto before = open_descriptors();
              if (!sys::put_null_at_stdio()) {
                  return "refused";
              }
              for (const int number : {0, 1, 2}) {
                  struct stat status{};
                  struct stat null{};
                  ::fstat(number, &status);
                  ::stat("/dev/null", &null);
                  if (status.st_rdev != null.st_rdev || status.st_ino != null.st_ino) {
                      return "not /dev/null";
                  }
                  if (closes_on_exec(FdRef{number})) {
                      return "close-on-exec";
                  }
              }
              return open_descriptors() == before ? "" : "left a descriptor";
          }) == "");
}

TEST_CASE("occupy_stdio fills what is closed of 0, 1 and 2, to be inherited, and nothing else") {
    for (int closed = 0; closed < 8; ++closed) {
        INFO(closed);
        CHECK(unit::in_copy([=]() -> std::string {
                  const auto before = open_descriptors();
                  for (const int number : {0, 1, 2}) {
                      if ((closed & 1 << number) != 0) {
                          ::close(number);
                      }
                  }
                  sys::occupy_stdio();
                  for (const int number : {0, 1, 2}) {
                      if (!is_open(number) || closes_on_exec(FdRef{number})) {
                          return std::to_string(number);
                      }
                  }
                  if (open_descriptors() != before) {
                      return "others are open than before";
                  }
                  return sys::put_null_at_stdio() && open_descriptors() == before ? "" : "put_null";
              }) == "");
    }
    const Faults faults("open", 1, ENOENT); // no /dev/null
    const auto before = open_descriptors();
    sys::occupy_stdio();
    CHECK(open_descriptors() == before);
}

namespace {

// Opens many descriptors, keeps some of them, and says whether exactly those are left.
std::string close_most(uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<FdRef> keep;
    std::set<int> expected;
    const auto keeps = [&](int number) {
        keep.emplace_back(number);
        if (number > 2 && is_open(number)) {
            expected.insert(number);
        }
    };
    for (int i = 0; i < 300; ++i) {
        const int number = ::open("/dev/null", O_RDONLY); // NOLINT(android-cloexec-open)
        if (random() % 7 == 0 && keep.size() < 60) {
            keeps(number);
        }
    }
    const int far = ::fcntl(3, F_DUPFD, 800);
    keeps(far);
    keeps(far); // twice
    keep.emplace_back(-1);
    keep.emplace_back(1);
    keep.emplace_back(777); // not open
    std::shuffle(keep.begin(), keep.end(), random);
    keeps(900); // the report of in_copy
    for (const int number : {0, 1, 2}) {
        if (is_open(number)) {
            expected.insert(number);
        }
    }
    sys::close_all_except(keep);
    return open_descriptors() == expected ? "" : "other descriptors are open than expected";
}

} // namespace

TEST_CASE("close_all_except closes all above 2 but the named ones") {
    for (uint32_t seed = 0; seed < 5; ++seed) {
        CHECK(unit::in_copy([seed] { return close_most(seed); }) == "");
    }
}

TEST_CASE("close_all_except does the same where close_range is missing, or fails half-way") {
    const int code = GENERATE(ENOSYS, EPERM, EINVAL);
    for (uint32_t seed = 0; seed < 3; ++seed) {
        for (const int first : {1, 2, 10}) {
            CHECK(unit::in_copy([=]() -> std::string {
                      const Faults faults([=](const shadow::Call& call) {
                          const bool fails = call.name == "close_range" && call.nth >= first;
                          return shadow::Instead{.error = fails ? code : 0};
                      });
                      const std::string words = close_most(seed);
                      if (faults.count("getdents64") == 0) {
                          return "the fallback was not used";
                      }
                      return words;
                  }) == "");
        }
    }
}

TEST_CASE("close_all_except works without close_range when no further descriptor can be opened") {
    CHECK(unit::in_copy([]() -> std::string {
              const Faults faults([](const shadow::Call& call) {
                  return shadow::Instead{.error = call.name == "close_range" ? ENOSYS : 0};
              });
              const std::array keep{FdRef{900}};
              while (::open("/dev/null", O_RDONLY) >= 0) { // NOLINT(android-cloexec-open)
              }
              if (errno != EMFILE) {
                  return "no EMFILE";
              }
              sys::close_all_except(keep);
              // (Nothing else can be asked: with no descriptor left, /proc cannot be opened.)
              for (int number = 3; number < 900; ++number) {
                  if (is_open(number)) {
                      return "descriptor " + std::to_string(number) + " is open";
                  }
              }
              return "";
          }) == "");
}

TEST_CASE("close_all_except with nothing to keep leaves 0, 1 and 2") {
    CHECK(unit::in_copy([]() -> std::string {
              const std::array keep{FdRef{900}};
              sys::close_all_except(keep);
              return open_descriptors() == std::set<int>{0, 1, 2, 900} ? "" : "others are open";
          }) == "");
}
