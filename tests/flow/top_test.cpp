// scripts/mote-top in its batch mode, over monitors of this test and, where it is installed, a
// conmon, which it must leave alone.

#include "support/monitor.h"

#include <csignal>
#include <sstream>

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

struct Page {
    int status = -1;
    std::vector<std::vector<std::string>> rows; // words of the lines of this test's monitors
};

// Runs it; the rows of these pids.
Page top(const std::vector<std::string>& arguments, const std::set<pid_t>& pids) {
    const char* const script = ::getenv("MOTE_TOP");
    REQUIRE(script != nullptr);
    Channel channel = Channel::make(Kind::pipe, Channel::Direction::to_us);
    Launch plan;
    plan.argv = {"/usr/bin/python3", script};
    plan.argv.insert(plan.argv.end(), arguments.begin(), arguments.end());
    plan.env = {"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"};
    plan.fds[1] = channel.theirs.get();
    Process process = launch(plan);
    channel.theirs.reset();
    std::istringstream text(Inbox(std::move(channel.ours)).bytes(Deadline(seconds(30))));
    Page page;
    page.status = process.wait(Deadline(seconds(30))).code;
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        std::vector<std::string> row;
        for (std::string word; words >> word;) {
            row.push_back(word);
        }
        if (!row.empty() && pids.contains(static_cast<pid_t>(std::atoi(row[0].c_str())))) {
            page.rows.push_back(row);
        }
    }
    return page;
}

// The columns, by their places in a row.
enum { pid_column, version_column, name_column, rss_column, private_column, out_column };
constexpr size_t written_column = 7;
constexpr size_t lost_column = 9;
constexpr size_t clients_column = 10;

} // namespace

TEST_CASE("mote-top shows what each monitor says of itself, and its memory") {
    Monitor quiet;
    quiet.set("-n", "quiet").gate("end").shell("printf 12345; : <end");
    Monitor busy;
    busy.set("-n", "busy").gate("end");
    busy.env("MOTE_LOG_RATE", "1000").env("MOTE_LOG_EXCESS", "drop");
    busy.shell("seq 1 100000; : <end; seq 1 100");
    quiet.run();
    busy.run();
    quiet.wait_log("12345");
    busy.wait_log("mote: dropped");
    const AttachClient client = quiet.attach();
    const pid_t quiet_pid = quiet.process().pid();
    const pid_t busy_pid = busy.process().pid();
    const Page page = top({"-1", "-o", "WRITTEN"}, {quiet_pid, busy_pid});
    CHECK(page.status == 0);
    REQUIRE(page.rows.size() == 2);
    CHECK(page.rows[0][pid_column] == std::to_string(busy_pid));
    CHECK(page.rows[1][pid_column] == std::to_string(quiet_pid));
    CHECK(page.rows[0][name_column] == "busy");
    CHECK(page.rows[1][name_column] == "quiet");
    CHECK(page.rows[0][version_column] == "0.1.0");
    CHECK(std::stoi(page.rows[1][rss_column]) > 0);
    CHECK(std::stoi(page.rows[1][private_column]) > 0);
    CHECK(page.rows[0][written_column] == "575K");
    CHECK(page.rows[1][written_column] == "5");
    CHECK(page.rows[0][lost_column] != "0");
    CHECK(page.rows[1][lost_column] == "0");
    CHECK(page.rows[0][clients_column] == "0");
    CHECK(page.rows[1][clients_column] == "1");
    // Nobody was harmed.
    quiet.open_gate("end");
    busy.open_gate("end");
    CHECK(quiet.end() == exited(0));
    CHECK(busy.end() == exited(0));
}

TEST_CASE("mote-top's rates are of the time between two pages") {
    Monitor m;
    m.gate("go").gate("end").shell("seq 1 100000; : <go; seq 1 1000000; : <end");
    m.run();
    m.wait_log("stdout F 100000\n");
    m.process().kill(SIGUSR1);
    wait_file(m.persist + "/monitor.json");
    ::usleep(200'000);
    const pid_t pid = m.process().pid();
    const Page page = top({"-b", "-n", "2", "-d", "0.3"}, {pid});
    REQUIRE(page.rows.size() == 2);
    CHECK(page.rows[0][out_column] != "0");
    CHECK(page.rows[1][out_column] == "0");
    m.open_gate("go");
    m.open_gate("end");
    m.end();
}

TEST_CASE("mote-top shows the memory that a monitor has when it is not asked") {
    Monitor m;
    m.gate("end").shell(": <end");
    m.run();
    const pid_t pid = m.process().pid();
    ::usleep(2'000'000);
    const long idle = rss_of(pid);
    const Page page = top({"-b", "-n", "2", "-d", "2"}, {pid});
    REQUIRE(page.rows.size() == 2);
    CHECK(std::stol(page.rows[0][rss_column]) == idle);
    CHECK(4 * std::stol(page.rows[1][rss_column]) <= 5 * idle); // after an answer; two pages more
    m.open_gate("end");
    m.end();
}

TEST_CASE("mote-top sends nothing to a program that gives no account") {
    const std::string reference = reference_program();
    if (reference.empty()) {
        WARN("there is no conmon to leave alone");
        return;
    }
    Monitor theirs(Monitor::Setup{.program = reference});
    theirs.gate("end").shell("trap 'echo signalled' USR1; echo ready; : <end; exit 5");
    theirs.run();
    theirs.wait_log("ready");
    // One that calls itself conmon and would die of the signal.
    fs::copy_file("/bin/sleep", theirs.dir / "conmon");
    Launch plan;
    plan.argv = {theirs.dir / "conmon", "1000"};
    Process sleeper = launch(plan);
    CHECK(top({"-1"}, {theirs.process().pid(), sleeper.pid()}).rows.empty());
    CHECK(sleeper.is_running());
    sleeper.kill(SIGKILL);
    CHECK(sleeper.wait() == killed_by(SIGKILL));
    theirs.open_gate("end");
    CHECK(theirs.exit_file() == "5");
    CHECK(names_in(theirs.persist) == Lines{"exit"});
}

TEST_CASE("mote-top believes no account that is not one") {
    Monitor m;
    m.gate("end").shell("echo ready; : <end");
    m.run();
    m.wait_log("ready");
    // Nothing can be renamed over a directory, so this is what it finds.
    fs::create_directory(m.persist + "/monitor.json");
    const pid_t pid = m.process().pid();
    const Page page = top({"-1"}, {pid});
    REQUIRE(page.rows.size() == 1);
    CHECK(page.rows[0][out_column] == "-");
    m.open_gate("end");
    CHECK(m.end() == exited(0));
}
