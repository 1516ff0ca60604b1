// The only C++ runtime symbols that we define: what libc++ calls when it is misused. They stop the
// program at the place of the mistake. Everything else that needs a runtime is a link error.

namespace std {
inline namespace __1 {

[[noreturn]] void __libcpp_verbose_abort(const char* /*format*/, ...) noexcept;

// The name and the signature are libc++'s (<__verbose_abort>).
void __libcpp_verbose_abort(const char* /*format*/, ...) noexcept {
    __builtin_trap();
}

} // namespace __1
} // namespace std
