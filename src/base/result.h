// Error, Result and TRY: how anything that the world may refuse is returned.
#pragma once

#include "base/bytes.h"

#include <expected>
#include <string_view>
#include <type_traits>
#include <utility>

namespace base {

// What failed and why. `call` is a literal that names the step ("open log file"); `code` is the
// errno of the refusal and never 0.
struct Error {
    int code;
    std::string_view call;
};

// Read with `if (!r)`, `*r` and `r.error()`; never with `.value()`, which needs a C++ runtime.
template <typename T> using Result = std::expected<T, Error>;

using Failure = std::unexpected<Error>;

inline Failure fail(int code, std::string_view call) {
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
