// Builds the command line, starts the program, and finds its survivor.

#include "support/monitor.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <sys/stat.h>

namespace support {

namespace {

int alive_monitors = 0;

} // namespace

std::string program_under_test() {
    const char* path = std::getenv("MOTE_CONMON");
    return path != nullptr ? path : "";
}

std::string reference_program() {
    return ::access("/usr/bin/conmon", X_OK) == 0 ? "/usr/bin/conmon" : "";
}

std::string fake_runtime() {
    return FAKE_RUNTIME;
}

Monitor::Monitor(Setup setup)
    : dir(setup.path_length), bundle(dir / "b"), exits(dir / "x"), persist(dir / "p"),
      sockets(dir / "s"), log(dir / "b/ctr.log"), pidfile(dir / "b/pidfile"),
      conmon_pidfile(dir / "b/conmon.pid"), program_(std::move(setup.program)) {
    ++alive_monitors;
    for (const auto& path : {bundle, exits, persist, sockets}) {
        fs::create_directory(path);
    }
    options_ = {{"--api-version", "1"},
                {"-c", id},
                {"-u", id},
                {"-r", fake_runtime()},
                {"-b", bundle},
                {"-p", pidfile},
                {"-n", "t"},
                {"--exit-dir", exits},
                {"--persist-dir", persist},
                {"--full-attach", {}},
                {"--socket-dir-path", sockets},
                {"--conmon-pidfile", conmon_pidfile},
                {"-l", "k8s-file:" + log}};
    env_ = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}, {"LC_ALL", "C.UTF-8"}};
    if (const char* real = std::getenv("MOTE_REAL_CONMON")) {
        env("MOTE_REAL_CONMON", real); // for the old-kernel launcher
    }
}

Monitor::~Monitor() {
    if (--alive_monitors == 0) {
        try {
            kill_descendants();
        } catch (const std::exception&) {
            std::abort();
        }
    }
}

Monitor& Monitor::set(const std::string& option, const std::string& value) {
    const auto found = std::ranges::find(options_, option, &Option::name);
    if (found != options_.end()) {
        found->value = value;
    } else {
        options_.push_back({option, value});
    }
    return *this;
}

Monitor& Monitor::drop(const std::string& option) {
    std::erase_if(options_, [&option](const Option& o) { return o.name == option; });
    return *this;
}

Monitor& Monitor::add(std::vector<std::string> words) {
    sync_mode_ = sync_mode_ || std::ranges::contains(words, "--sync");
    more_.insert(more_.end(), words.begin(), words.end());
    return *this;
}

Monitor& Monitor::env(const std::string& name, const std::string& value) {
    env_.emplace_back(name, value);
    return *this;
}

std::vector<std::string> Monitor::command_line() const {
    std::vector<std::string> words = {program_};
    for (const auto& [name, value] : options_) {
        words.push_back(name);
        if (value) {
            words.push_back(*value);
        }
    }
    words.insert(words.end(), more_.begin(), more_.end());
    return words;
}

Monitor& Monitor::script(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) {
        text += line + "\n";
    }
    write_file(bundle + "/script", text);
    return *this;
}

Monitor& Monitor::shell(const std::string& command) {
    return script({"container " + command, "pidfile", "exit 0"});
}

Monitor& Monitor::exec() {
    return add({"--exec", "--exec-process-spec", bundle + "/script"});
}

Monitor& Monitor::exit_script(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) {
        text += line + "\n";
    }
    write_file(bundle + "/exit-script", text);
    return add({"--exit-command",
                fake_runtime(),
                "--exit-command-arg",
                "script",
                "--exit-command-arg",
                bundle + "/exit-script"});
}

Monitor& Monitor::start() {
    Launch plan{.argv = command_line(), .env = {}, .fds = fds, .cwd = cwd, .in_child = in_child};
    for (const auto& [name, value] : env_) {
        plan.env.push_back(name + "=" + value);
    }
    std::vector<Handle> theirs;
    const auto lend = [&](int number, const char* variable, Channel channel) {
        plan.fds[number] = channel.theirs.get();
        plan.env.push_back(std::string(variable) + "=" + std::to_string(number));
        theirs.push_back(std::move(channel.theirs));
        return std::move(channel.ours);
    };
    using Direction = Channel::Direction;
    if (sync_kind) {
        sync = Inbox(lend(3, "_OCI_SYNCPIPE", Channel::make(*sync_kind, Direction::to_us)));
    }
    if (start_kind) {
        start_pipe = lend(4, "_OCI_STARTPIPE", Channel::make(*start_kind, Direction::to_them));
    }
    if (attach_kind) {
        attach_pipe =
            Inbox(lend(5, "_OCI_ATTACHPIPE", Channel::make(*attach_kind, Direction::to_us)));
    }
    if (!plan.fds.contains(2)) {
        Channel channel = Channel::make(Kind::pipe, Direction::to_us);
        plan.fds[2] = channel.theirs.get();
        theirs.push_back(std::move(channel.theirs));
        stderr_ = Inbox(std::move(channel.ours));
    }
    first_ = launch(plan);
    return *this;
}

void Monitor::go() {
    if (::write(start_pipe.get(), "x", 1) != 1) {
        throw Broken("write to the start pipe");
    }
}

Ended Monitor::first_exit() {
    return first_.wait();
}

std::string Monitor::errors() {
    return stderr_.bytes();
}

Json Monitor::message() {
    const auto line = sync.line();
    if (!line) {
        throw std::runtime_error("the sync pipe ended without a message");
    }
    return Json::parse(*line);
}

pid_t Monitor::container() {
    const auto line = sync.line();
    const Json json = Json::parse(line.value_or("null"));
    if (json.kind() != Json::Kind::object || !json.has("data") || json["data"].number() <= 0) {
        std::string said;
        try {
            said = stderr_.bytes(Deadline(milliseconds(100)));
        } catch (const std::exception&) {
        }
        throw std::runtime_error("no container: " + line.value_or("the sync pipe ended") +
                                 "; on stderr: " + said);
    }
    return static_cast<pid_t>(json["data"].number());
}

Process& Monitor::process() {
    if (sync_mode_) {
        return first_;
    }
    if (monitor_) {
        return *monitor_;
    }
    first_exit();
    const auto option = std::ranges::find(options_, "--conmon-pidfile", &Option::name);
    if (option != options_.end()) {
        if (const auto text = try_read_file(*option->value)) {
            monitor_.emplace(static_cast<pid_t>(std::stoi(*text)));
            return *monitor_;
        }
    }
    // Without a pidfile: a child with our command line, or one that has ended under that name. (One
    // that is just ending has no command line any more and is not dead yet.)
    const bool found = eventually(
        [this] {
            for (const pid_t pid : children_of(::getpid())) {
                const bool ended = stat_field(pid, 3) == "Z";
                if (ended ? status_line(pid, "Name") == "conmon"
                          : words_of(pid, "cmdline") == command_line()) {
                    monitor_.emplace(pid);
                    return true;
                }
            }
            return false;
        },
        seconds(1));
    if (found) {
        return *monitor_;
    }
    throw std::runtime_error("there is no monitor process");
}

pid_t Monitor::run() {
    start();
    return container();
}

std::string Monitor::exit_file() {
    return wait_file(exits + "/" + id);
}

Ended Monitor::end(const Deadline& deadline) {
    return process().wait(deadline);
}

Monitor& Monitor::gate(const std::string& name) {
    if (::mkfifo((bundle + "/" + name).c_str(), 0600) != 0) {
        throw Broken("mkfifo " + name);
    }
    return *this;
}

void Monitor::open_gate(const std::string& name) {
    Handle fifo;
    const bool opened = eventually([&] {
        fifo = Handle(::open((bundle + "/" + name).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        return fifo.is_open();
    });
    if (!opened) {
        throw TimedOut("nobody waits at the gate " + name);
    }
}

Json Monitor::recorded(const std::string& name) const {
    return Json::parse(wait_file(bundle + "/" + name));
}

} // namespace support
