// Error, Result and TRY: how anything that the world may refuse is returned.
#pragma once

#include "base/bytes.h"

#include <expected>
#include <string_view>
#include <type_traits>
#include <utility>

namespace base {

// The name of a step that can fail, such as "open log file": always a literal, so one pointer is
// enough (a length beside it, in every Error and every call, made the program 3 kB larger).
class Step {
  public:
    consteval Step(const char* literal)
        : literal_{literal} {} // NOLINT(google-explicit-constructor)

    operator std::string_view() const { return literal_; } // NOLINT(google-explicit-constructor)
    friend bool operator==(Step step, std::string_view text) {
        return std::string_view{step.literal_} == text;
    }

  private:
    const char* literal_;
};

// What failed and why. `code` is the errno of the refusal and never 0.
struct Error {
    int code;
    Step call;
};

// Read with `if (!r)`, `*r` and `r.error()`; never with `.value()`, which needs a C++ runtime.
template <typename T> using Result = std::expected<T, Error>;

using Failure = std::unexpected<Error>;

inline Failure fail(int code, Step call) {
    CHECK(code != 0);
    return Failure{Error{code, call}};
}

namespace detail {

template <typename T> T take(Result<T>&& result) {
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

} // namespace detail

} // namespace base

// Yields the value of a Result, or returns its error from the enclosing function. The only macro
// that changes control flow. (`__extension__`: a statement expression, which both compilers have.)
#define TRY(expression)                                                                            \
    __extension__({                                                                                \
        auto try_result_ = (expression);                                                           \
        if (!try_result_) {                                                                        \
            return ::base::Failure{try_result_.error()};                                           \
        }                                                                                          \
        ::base::detail::take(std::move(try_result_));                                              \
    })
