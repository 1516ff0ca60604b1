// A stand-in OCI runtime whose behaviour is a script.
//
// It is called as the monitor calls runc (`[global options] create|restore|exec [options] ID`) and
// obeys the lines of a file: `<bundle>/script` for create and restore, the `--process` file for
// exec. `fake-runtime script FILE [words]` obeys FILE, so that it can be an exit command as well.
// Relative paths are relative to the script's directory. A line is a verb and the rest of the line:
//
//   record FILE          writes what this process inherited to FILE as JSON
//   join FILE            moves this process, and what it starts, to the cgroup of that cgroup.procs
//   container CMD        starts `sh -c CMD` in a session of its own, with this process's stdio, as
//   a
//                        child of whoever adopts orphans (the monitor)
//   container-kept CMD   the same, but its parent is a helper that reaps it: nobody else can
//   container-reaped CMD the same, but this process waits for it and reaps it
//   container-tty CMD    the same on the terminal made by `console`
//   spawn CMD            starts another process with this process's stdio, which is not the
//   container daemon CMD           starts a process with stdio on /dev/null, orphaned at once
//   pidfile              writes the container's pid to --pid-file
//   pidfile-text TEXT    writes TEXT there (escapes as below)
//   stdout TEXT, stderr TEXT   writes TEXT, without a newline; \n \t \\ \xHH are understood
//   stdout-file FILE, stderr-file FILE     copies a file
//   stdout-flood N, stderr-flood N         writes N bytes of 'x'
//   wait-container       waits until the container has ended, without reaping it
//   gate FIFO            waits until somebody opens the fifo for writing
//   mark FILE            creates an empty file, for a test that waits for it
//   sleep-ms N
//   console              makes a pty and sends its master over --console-socket
//   console-connect, console-no-fd, console-two-fds, console-not-tty    as their names say
//   kill N               sends itself a signal
//   exit N
//
// Every failure of its own ends it with status 99 and a text on stderr.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

[[noreturn]] void give_up(const std::string& what) {
    const std::string text = "fake-runtime: " + what + ": " + std::strerror(errno) + "\n";
    (void)!::write(2, text.data(), text.size());
    ::_exit(99);
}

std::string read_all(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        give_up("open " + path);
    }
    std::string bytes;
    char block[65536];
    for (ssize_t n; (n = ::read(fd, block, sizeof block)) > 0;) {
        bytes.append(block, static_cast<size_t>(n));
    }
    ::close(fd);
    return bytes;
}

// Whether a process is a zombie, or gone.
bool has_ended(pid_t pid) {
    const int fd = ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    char stat[1024];
    const ssize_t size = fd < 0 ? -1 : ::read(fd, stat, sizeof stat);
    ::close(fd);
    const std::string_view text(stat, size < 0 ? 0 : static_cast<size_t>(size));
    const size_t name_end = text.rfind(')');
    return name_end == std::string_view::npos || name_end + 2 >= text.size() ||
           text[name_end + 2] == 'Z' || text[name_end + 2] == 'X';
}

void write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0) {
            give_up("write");
        }
        bytes.remove_prefix(static_cast<size_t>(n));
    }
}

// Written beside the target and renamed, so that a waiting test never sees half of it.
void write_atomically(const std::string& path, const std::string& bytes) {
    const std::string beside = path + ".part";
    const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        give_up("create " + beside);
    }
    write_all(fd, bytes);
    ::close(fd);
    if (::rename(beside.c_str(), path.c_str()) != 0) {
        give_up("rename " + beside);
    }
}

// Bytes become characters one to one (a byte of 0x80 and above is written as \u00xx).
std::string quoted(std::string_view bytes) {
    std::string out = "\"";
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", byte);
            out += escape;
        } else {
            out += c;
        }
    }
    return out + "\"";
}

std::string quoted_list(char** words) {
    std::string out = "[";
    for (; *words != nullptr; ++words) {
        out += (out.size() > 1 ? ", " : "") + quoted(*words);
    }
    return out + "]";
}

std::string status_value(const std::string& status, const std::string& key) {
    const size_t at = status.find("\n" + key + ":\t");
    if (at == std::string::npos) {
        return "";
    }
    const size_t start = at + key.size() + 3;
    return status.substr(start, status.find('\n', start) - start);
}

std::string trimmed(std::string text) {
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text;
}

std::string describe_fds() {
    std::string out;
    DIR* directory = ::opendir("/proc/self/fd");
    while (const dirent* entry = ::readdir(directory)) {
        const int fd = std::atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == ::dirfd(directory)) {
            continue;
        }
        char target[4096];
        const std::string link = "/proc/self/fd/" + std::to_string(fd);
        const ssize_t n = ::readlink(link.c_str(), target, sizeof target);
        struct stat info{};
        ::fstat(fd, &info);
        char mode[16];
        std::snprintf(mode, sizeof mode, "%04o", info.st_mode & 07777);
        const char* type = S_ISFIFO(info.st_mode)   ? "fifo"
                           : S_ISSOCK(info.st_mode) ? "socket"
                           : S_ISCHR(info.st_mode)  ? "character"
                           : S_ISREG(info.st_mode)  ? "regular"
                                                    : "other";
        const int flags = ::fcntl(fd, F_GETFL);
        out += (out.empty() ? "" : ", ") + quoted(std::to_string(fd)) +
               ": {\"target\": " + quoted({target, static_cast<size_t>(n > 0 ? n : 0)}) +
               ", \"mode\": " + quoted(mode) + ", \"type\": " + quoted(type) +
               ", \"access\": " + std::to_string(flags & O_ACCMODE) +
               ", \"nonblocking\": " + std::to_string((flags & O_NONBLOCK) != 0 ? 1 : 0) + "}";
    }
    ::closedir(directory);
    return "{" + out + "}";
}

void record(const std::string& path, char** argv) {
    const std::string status = read_all("/proc/self/status");
    int death_signal = 0;
    int subreaper = 0;
    ::prctl(PR_GET_PDEATHSIG, &death_signal);
    ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    char cwd[4096] = "";
    (void)!::getcwd(cwd, sizeof cwd);
    std::string out = "{\"argv\": " + quoted_list(argv) + ", \"env\": " + quoted_list(environ);
    out += ", \"fds\": " + describe_fds() + ", \"cwd\": " + quoted(cwd);
    for (const char* key : {"Umask", "SigBlk", "SigIgn", "SigCgt", "SigPnd"}) {
        out += ", " + quoted(key) + ": " + quoted(status_value(status, key));
    }
    out += ", \"oom\": " + trimmed(read_all("/proc/self/oom_score_adj"));
    const auto number = [&out](const char* key, long value) {
        out += std::string(", \"") + key + "\": " + std::to_string(value);
    };
    number("pid", ::getpid());
    number("ppid", ::getppid());
    number("pgid", ::getpgrp());
    number("sid", ::getsid(0));
    number("pdeathsig", death_signal);
    number("subreaper", subreaper);
    write_atomically(path, out + "}\n");
}

std::string unescaped(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\' || at + 1 == text.size()) {
            out += text[at];
            continue;
        }
        switch (text[++at]) {
        case 'n':
            out += '\n';
            break;
        case 't':
            out += '\t';
            break;
        case 'x':
            out += static_cast<char>(
                std::strtoul(std::string(text.substr(at + 1, 2)).c_str(), nullptr, 16));
            at += 2;
            break;
        default:
            out += text[at];
        }
    }
    return out;
}

struct Call {
    char** argv = nullptr;
    std::string script;
    std::string pid_file;
    std::string console_socket;
};

// Only what the script needs is looked at: the first word that is a subcommand begins its options.
Call parse(int argc, char** argv) {
    Call call{.argv = argv, .script = {}, .pid_file = {}, .console_socket = {}};
    int at = 1;
    const auto is = [&at, argv](const char* word) { return std::strcmp(argv[at], word) == 0; };
    while (at < argc && !is("create") && !is("restore") && !is("exec") && !is("script")) {
        ++at;
    }
    if (at == argc) {
        give_up("no subcommand");
    }
    if (is("script")) {
        if (at + 1 < argc) {
            call.script = argv[at + 1];
        }
        return call;
    }
    for (++at; at + 1 < argc; ++at) {
        if (is("--bundle")) {
            call.script = std::string(argv[++at]) + "/script";
        } else if (is("--process")) {
            call.script = argv[++at];
        } else if (is("--pid-file")) {
            call.pid_file = argv[++at];
        } else if (is("--console-socket")) {
            call.console_socket = argv[++at];
        }
    }
    return call;
}

class Runtime {
  public:
    explicit Runtime(Call call) : call_(std::move(call)) {}

    // Obeys the script; gives the exit status.
    int run() {
        const std::string lines = read_all(call_.script);
        if (const size_t slash = call_.script.rfind('/'); slash != std::string::npos) {
            if (::chdir(call_.script.substr(0, slash).c_str()) != 0) {
                give_up("chdir");
            }
        }
        for (size_t at = 0; at < lines.size();) {
            const size_t end = std::min(lines.find('\n', at), lines.size());
            const std::string line = lines.substr(at, end - at);
            const size_t blank = line.find(' ');
            obey(line.substr(0, blank),
                 blank == std::string::npos ? std::string() : line.substr(blank + 1));
            at = end + 1;
        }
        return 0;
    }

  private:
    enum class Parent { adopter, helper, us };

    void obey(const std::string& verb, const std::string& rest) {
        if (verb.empty()) {
            return;
        }
        if (verb == "record") {
            record(rest, call_.argv);
        } else if (verb == "join") {
            join(rest);
        } else if (verb == "container") {
            container_ = start(rest, Parent::adopter);
        } else if (verb == "container-kept") {
            container_ = start(rest, Parent::helper);
        } else if (verb == "container-reaped") {
            container_ = start(rest, Parent::us);
            ::waitpid(container_, nullptr, 0);
        } else if (verb == "container-tty") {
            container_ = start(rest, Parent::adopter, terminal_);
        } else if (verb == "spawn") {
            start(rest, Parent::adopter);
        } else if (verb == "daemon") {
            start(rest, Parent::adopter, ::open("/dev/null", O_RDWR | O_CLOEXEC));
        } else if (verb == "pidfile") {
            write_pid_file(std::to_string(container_));
        } else if (verb == "pidfile-text") {
            write_pid_file(unescaped(rest));
        } else if (verb == "stdout" || verb == "stderr") {
            write_all(verb == "stdout" ? 1 : 2, unescaped(rest));
        } else if (verb == "stdout-file" || verb == "stderr-file") {
            write_all(verb == "stdout-file" ? 1 : 2, read_all(rest));
        } else if (verb == "stdout-flood" || verb == "stderr-flood") {
            write_all(verb == "stdout-flood" ? 1 : 2,
                      std::string(std::strtoul(rest.c_str(), nullptr, 10), 'x'));
        } else if (verb == "wait-container") {
            while (!has_ended(container_)) {
                ::usleep(2000); // a pidfd would tell, but not on every kernel that is tested
            }
        } else if (verb == "gate") {
            ::close(::open(rest.c_str(), O_RDONLY | O_CLOEXEC));
        } else if (verb == "mark") {
            write_atomically(rest, "");
        } else if (verb == "sleep-ms") {
            ::usleep(static_cast<useconds_t>(std::strtoul(rest.c_str(), nullptr, 10) * 1000));
        } else if (verb.starts_with("console")) {
            console(verb);
        } else if (verb == "kill") {
            ::signal(std::atoi(rest.c_str()), SIG_DFL);
            ::raise(std::atoi(rest.c_str()));
        } else if (verb == "exit") {
            ::_exit(std::atoi(rest.c_str()));
        } else {
            errno = EINVAL;
            give_up("unknown verb " + verb);
        }
    }

    static void join(const std::string& procs) {
        const int fd = ::open(procs.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
            give_up("open " + procs);
        }
        write_all(fd, "0");
        ::close(fd);
    }

    // Starts a shell and returns its pid once it has been executed. `stdio` replaces 0, 1 and 2.
    static pid_t start(const std::string& command, Parent parent, int stdio = -1) {
        int report[2];
        if (::pipe2(report, O_CLOEXEC) != 0) {
            give_up("pipe2");
        }
        const pid_t first = ::fork();
        if (first == 0) {
            if (parent == Parent::us) {
                become_shell(command, report[1], stdio);
            }
            const pid_t second = ::fork();
            if (second == 0) {
                become_shell(command, report[1], stdio);
            }
            if (parent == Parent::adopter) {
                ::_exit(0);
            }
            for (int fd = 0; fd < 3; ++fd) {
                ::close(fd);
            }
            for (int fd = 3; fd < 256; ++fd) {
                ::close(fd); // not every kernel that is tested has close_range
            }
            ::waitpid(second, nullptr, 0);
            ::_exit(0);
        }
        ::close(report[1]);
        pid_t pid = 0;
        if (::read(report[0], &pid, sizeof pid) != sizeof pid) {
            give_up("start a shell");
        }
        // The end of the pipe: close-on-exec has closed the shell's copy.
        char nothing;
        (void)!::read(report[0], &nothing, 1);
        ::close(report[0]);
        if (parent == Parent::adopter) {
            ::waitpid(first, nullptr, 0);
        }
        return pid;
    }

    [[noreturn]] static void become_shell(const std::string& command, int report, int stdio) {
        const pid_t pid = ::getpid();
        ::setsid();
        ::signal(SIGPIPE, SIG_DFL);
        if (stdio >= 0) {
            for (int fd = 0; fd < 3; ++fd) {
                ::dup2(stdio, fd);
            }
            ::ioctl(0, TIOCSCTTY, 0);
        }
        (void)!::write(report, &pid, sizeof pid);
        for (int fd = 3; fd < 1024; ++fd) {
            if (fd != report) {
                ::close(fd);
            }
        }
        const char* argv[] = {"/bin/sh", "-c", command.c_str(), nullptr};
        ::execv(argv[0], const_cast<char**>(argv));
        ::_exit(99);
    }

    void write_pid_file(const std::string& bytes) const {
        const int fd =
            ::open(call_.pid_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0) {
            give_up("create " + call_.pid_file);
        }
        write_all(fd, bytes);
        ::close(fd);
    }

    void console(const std::string& verb) {
        const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, call_.console_socket.c_str(), sizeof address.sun_path - 1);
        if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            give_up("connect to the console socket " + call_.console_socket);
        }
        if (verb == "console-connect") {
            ::close(socket);
            return;
        }
        const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) {
            give_up("posix_openpt");
        }
        const char* name = ::ptsname(master);
        terminal_ = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        std::vector<int> fds = {master};
        if (verb == "console-no-fd") {
            fds.clear();
        } else if (verb == "console-two-fds") {
            fds.push_back(terminal_);
        } else if (verb == "console-not-tty") {
            fds[0] = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        }
        send_fds(socket, name, fds);
        ::close(socket);
        ::close(master);
    }

    static void send_fds(int socket, const char* name, const std::vector<int>& fds) {
        alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
        iovec bytes{.iov_base = const_cast<char*>(name), .iov_len = std::strlen(name)};
        msghdr message{};
        message.msg_iov = &bytes;
        message.msg_iovlen = 1;
        if (!fds.empty()) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
        }
        if (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
            give_up("sendmsg");
        }
    }

    Call call_;
    pid_t container_ = 0;
    int terminal_ = -1;
};

} // namespace

int main(int argc, char** argv) {
    Runtime runtime(parse(argc, argv));
    return runtime.run();
}
