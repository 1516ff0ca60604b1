// Settings of the sanitizers, compiled into a conmon that is built with them: its callers choose
// its environment, and tests compare that, so there is no place for ASAN_OPTIONS. After the fork
// its stderr is /dev/null, so reports go to files, SANITIZER_LOG.PID. They are for a reader; a test
// sees the signal.

extern "C" {

const char* __asan_default_options();
const char* __ubsan_default_options();

// What is allocated before main by the sanitizers themselves is no leak of ours: there is no heap.
const char* __asan_default_options() {
    return "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1:log_"
           "path=" SANITIZER_LOG;
}

const char* __ubsan_default_options() {
    return "halt_on_error=1:abort_on_error=1:print_stacktrace=1:log_path=" SANITIZER_LOG;
}
}
