// mount(2) in a private namespace.

#include "support/mounts.h"

#include "support/files.h"

#include <cerrno>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace support {

void enter_private_mounts() {
    static bool entered = false;
    if (entered) {
        return;
    }
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        throw Broken("a private mount namespace");
    }
    entered = true;
}

Mount Mount::tmpfs(const std::string& directory, const std::string& size) {
    enter_private_mounts();
    fs::create_directories(directory);
    if (::mount("flow", directory.c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) {
        throw Broken("mount tmpfs on " + directory);
    }
    return Mount(directory);
}

Mount Mount::bind(const std::string& what, const std::string& directory) {
    enter_private_mounts();
    if (::mount(what.c_str(), directory.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        throw Broken("mount " + what + " on " + directory);
    }
    return Mount(directory);
}

Mount Mount::read_only(const std::string& directory) {
    enter_private_mounts();
    const char* path = directory.c_str();
    if (::mount(path, path, nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(path, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
        throw Broken("a read-only view of " + directory);
    }
    return Mount(directory);
}

Mount::~Mount() {
    if (!directory_.empty()) {
        ::umount2(directory_.c_str(), MNT_DETACH);
    }
}

void Mount::resize(const std::string& size) const {
    const std::string option = "size=" + size;
    if (::mount("flow", directory_.c_str(), "tmpfs", MS_REMOUNT, option.c_str()) != 0) {
        throw Broken("resize " + directory_);
    }
}

void Mount::fill(const std::string& name) const {
    const std::string path = directory_ + "/" + name;
    const Handle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string block(4096, 'x');
    while (::write(file.get(), block.data(), block.size()) > 0) {
    }
    if (errno != ENOSPC) {
        throw Broken("fill " + path);
    }
}

} // namespace support
