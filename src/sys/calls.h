// Every system call that we make, by name: the seam for tests. A unit test of a system edge puts
// tests/shadow first on the include path, whose "sys/calls.h" has functions of the same names that
// fail on demand. This works only because all code says sys::name(...) and includes are rooted.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sys {

using ::access;
using ::close;
using ::fstat;
using ::getcwd;
using ::open;
using ::openat;
using ::read;
using ::write;

} // namespace sys
