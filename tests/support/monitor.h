// One run of the monitor under test: its directories, its command line, its pipes, its end.
//
// The command line is BASE of the regression list unless a test changes it:
//
//   _OCI_SYNCPIPE=3 conmon --api-version 1 -c ID -u ID -r fake-runtime -b B -p B/pidfile -n t
//       --exit-dir X --persist-dir P --full-attach --socket-dir-path S --conmon-pidfile
//       B/conmon.pid -l k8s-file:B/ctr.log
//
// The runtime is tests/fakes/fake_runtime.cpp, whose script stands in B/script. A Monitor that is
// destroyed kills and reaps every process that descends from the test.

#pragma once

#include "support/files.h"
#include "support/handle.h"
#include "support/json.h"
#include "support/k8s_log.h"
#include "support/process.h"
#include "support/wire.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace support {

using Lines = std::vector<std::string>;

// The program that MOTE_CONMON names (catch_main.cpp has checked that it can be executed).
std::string program_under_test();
// Debian's conmon, for comparisons; empty when it is not installed.
std::string reference_program();
// The stand-in runtime.
std::string fake_runtime();

class Monitor {
  public:
    struct Setup {
        std::string program = program_under_test();
        // Bytes that the path of the directory must have at least.
        size_t path_length = 0;
    };

    Monitor() : Monitor(Setup{}) {}
    explicit Monitor(Setup setup);
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;
    ~Monitor();

    // Where things are. The directories exist from the start.
    TempDir dir;
    const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const std::string bundle;
    const std::string exits;
    const std::string persist;
    const std::string sockets;
    const std::string log;
    const std::string pidfile;
    const std::string conmon_pidfile;

    // The command line. An option is set once; `add` appends words as they are.
    Monitor& set(const std::string& option, const std::string& value);
    Monitor& drop(const std::string& option);
    Monitor& add(std::vector<std::string> words);
    Monitor& env(const std::string& name, const std::string& value);
    std::vector<std::string> command_line() const;

    // What the runtime does; `shell` is the script of a runtime that starts `command` and succeeds.
    Monitor& script(const std::vector<std::string>& lines);
    Monitor& shell(const std::string& command);
    // Makes the call an exec: `--exec --exec-process-spec B/script`.
    Monitor& exec();

    // What the exit command does: it is the stand-in too, obeying B/exit-script.
    Monitor& exit_script(const std::vector<std::string>& lines);

    // The pipes that exist; set before start().
    std::optional<Kind> sync_kind = Kind::seqpacket;
    std::optional<Kind> start_kind;
    std::optional<Kind> attach_kind;
    // More descriptors for the program; numbers above 5.
    std::map<int, int> fds;
    // Runs in the new process before exec.
    std::function<void()> in_child;
    std::string cwd;

    // Starts the program. The caller's ends of its pipes are then closed here.
    Monitor& start();
    // Lets it go on: one byte on the start pipe.
    void go();
    // Waits for the end of the process that was started.
    Ended first_exit();
    // Everything the program wrote on its stderr, which must come to its end.
    std::string errors();

    // The next message on the sync pipe, which must be there and be strict JSON with a newline.
    Json message();
    // The pid in the first message, which must be above 0.
    pid_t container();
    // The monitor itself: the process named in the conmon pidfile, or the child of this test with
    // the command line that was given.
    Process& process();
    // start(), and the container runs: gives its pid.
    pid_t run();

    // Waits for <exit-dir>/<cid>; its contents.
    std::string exit_file();
    // Waits for the end of the monitor.
    Ended end(const Deadline& deadline = Deadline(soon));
    std::vector<Record> records() const { return parse_k8s(read_file(log)); }
    std::vector<std::string> log_briefs() const { return briefs(read_file(log)); }
    // Waits until the log holds `text`.
    void wait_log(std::string_view text) const { wait_text(log, text); }

    // A fifo `B/name` on which a script or a container can wait (`gate name`, `: <name`), and the
    // opening of it, which waits until somebody is waiting there.
    Monitor& gate(const std::string& name);
    void open_gate(const std::string& name);
    // What `record FILE` in a script left in the bundle.
    Json recorded(const std::string& name) const;

    AttachClient attach() const { return AttachClient::connect(bundle); }
    void control(std::string_view lines) const { write_fifo(bundle + "/ctl", lines); }

    Inbox sync;
    Inbox attach_pipe;
    Handle start_pipe;

  private:
    struct Option {
        std::string name;
        std::optional<std::string> value;
    };

    std::string program_;
    std::vector<Option> options_;
    std::vector<std::string> more_;
    std::vector<std::pair<std::string, std::string>> env_;
    bool sync_mode_ = false;
    Inbox stderr_;
    Process first_;
    std::optional<Process> monitor_;
};

} // namespace support
