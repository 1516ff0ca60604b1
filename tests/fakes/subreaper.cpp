// A library to preload into qemu's user mode, which refuses PR_SET_CHILD_SUBREAPER: every process
// of qemu adopts its orphans, as the monitor asks for in vain. The runtime and the exit command are
// forked by it too and adopt theirs while they live; then those go on to the monitor.

#include <dlfcn.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

[[gnu::constructor]] void become_subreaper() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

} // namespace

extern "C" pid_t fork() {
    static const auto real = reinterpret_cast<pid_t (*)()>(::dlsym(RTLD_NEXT, "fork"));
    const pid_t pid = real();
    if (pid == 0) {
        become_subreaper();
    }
    return pid;
}
