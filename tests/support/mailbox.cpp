// Binds the sockets and mounts the /dev around one of them.

#include "support/mailbox.h"

#include "support/files.h"
#include "support/mounts.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace support {

namespace {

constexpr std::array dev_nodes = {"null", "zero", "full", "tty", "urandom"};

void bind_over(const std::string& from, const std::string& to) {
    if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) {
        throw Broken("mount " + from + " on " + to);
    }
}

} // namespace

Mailbox::Mailbox(std::string path)
    : path_(std::move(path)), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path) {
        throw std::runtime_error("a path too long for a socket: " + path_);
    }
    std::memcpy(address.sun_path, path_.c_str(), path_.size());
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        throw Broken("bind " + path_);
    }
}

Mailbox::~Mailbox() {
    ::unlink(path_.c_str());
}

std::string Mailbox::next(const Deadline& deadline) {
    if (!wait_readable(socket_.get(), deadline)) {
        throw TimedOut("no datagram on " + path_);
    }
    std::string block(1 << 17, '\0');
    const ssize_t n = ::recv(socket_.get(), block.data(), block.size(), 0);
    block.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
    return block;
}

const std::string& SystemLog::furnish(const std::string& directory) {
    enter_private_mounts();
    fs::create_directory(directory);
    for (const std::string node : dev_nodes) {
        write_file(directory + "/" + node, "");
        bind_over("/dev/" + node, directory + "/" + node);
    }
    fs::create_directory(directory + "/pts");
    bind_over("/dev/pts", directory + "/pts");
    fs::create_symlink("pts/ptmx", directory + "/ptmx");
    fs::create_symlink("/proc/self/fd", directory + "/fd");
    return directory;
}

SystemLog::SystemLog(const std::string& directory)
    : directory_(furnish(directory)), log_(directory_ + "/log") {
    if (::mount(directory_.c_str(), "/dev", nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        throw Broken("mount " + directory_ + " on /dev");
    }
}

SystemLog::~SystemLog() {
    ::umount2("/dev", MNT_DETACH);
    for (const std::string node : dev_nodes) {
        ::umount2((directory_ + "/" + node).c_str(), MNT_DETACH);
    }
    ::umount2((directory_ + "/pts").c_str(), MNT_DETACH);
}

std::string SystemLog::drain() {
    std::string lines;
    while (!log_.is_empty()) {
        lines += log_.next() + "\n";
    }
    return lines;
}

} // namespace support
