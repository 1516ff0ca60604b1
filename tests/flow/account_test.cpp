// The account that a monitor gives when it is asked to, by SIGUSR1 or by MOTE_STATE, and what it
// says of records, losses, clients and stalls.

#include "support/monitor.h"

#include <csignal>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// Asks for an account until it satisfies `ready`; that account.
template <typename Ready> Json account_when(Monitor& m, const std::string& path, Ready ready) {
    const Deadline deadline(soon);
    while (true) {
        fs::remove(path);
        m.process().kill(SIGUSR1);
        const Json account = Json::parse(wait_file(path));
        if (ready(account)) {
            return account;
        }
        if (deadline.passed()) {
            throw TimedOut("no such account, but " + read_file(path));
        }
    }
}

Json account(Monitor& m) {
    return account_when(m, m.persist + "/monitor.json", [](const Json&) { return true; });
}

} // namespace

TEST_CASE("USR1 has the monitor write what it has recorded, and the container goes on") {
    Monitor m;
    m.gate("end").shell("echo one; echo two; echo bad >&2; printf 'prompt: '; : <end; exit 3");
    const time_t before = ::time(nullptr);
    m.run();
    m.wait_log("bad\n");
    m.wait_log("prompt: \n");
    const Json told = account(m);
    CHECK(told["version"].text() == "0.1.0");
    CHECK(told["pid"].number() == m.process().pid());
    CHECK(told["stdout_bytes"].number() == 16);
    CHECK(told["stdout_records"].number() == 3);
    CHECK(told["stderr_bytes"].number() == 4);
    CHECK(told["stderr_records"].number() == 1);
    for (const char* loss : {"disk", "limit", "journal", "rate"}) {
        CHECK(told["lost_" + std::string(loss) + "_records"].number() == 0);
        CHECK(told["lost_" + std::string(loss) + "_bytes"].number() == 0);
    }
    CHECK(told["started_ms"].number() >= before * 1000);
    CHECK(told["started_ms"].number() <= told["written_ms"].number());
    CHECK(told["written_ms"].number() <= (::time(nullptr) + 1) * 1000);
    CHECK(told["clients"].number() == 0);
    CHECK(told["upgrades"].number() == 0);
    CHECK(mode_of(m.persist + "/monitor.json") == 0644);
    CHECK(type_of(m.bundle + "/monitor.json") == 0);
    m.open_gate("end");
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
}

TEST_CASE("Without a persist dir the account is in the bundle") {
    Monitor m;
    m.drop("--persist-dir").gate("end").shell("echo ready; : <end");
    m.run();
    m.wait_log("ready");
    const Json told = account_when(m, m.bundle + "/monitor.json", [](const Json&) { return true; });
    CHECK(told["stdout_records"].number() == 1);
    m.open_gate("end");
    m.end();
}

TEST_CASE("An account is given while the runtime still runs") {
    Monitor m;
    m.gate("go");
    m.script({"record runtime.json", "gate go", "container exit 5", "pidfile", "exit 0"});
    m.start();
    m.first_exit();
    m.recorded("runtime.json");
    CHECK(account(m)["stdout_bytes"].number() == 0);
    m.open_gate("go");
    m.container();
    CHECK(m.exit_file() == "5");
}

TEST_CASE("An exec session's account does not take the place of its container's") {
    Monitor m;
    write_file(m.persist + "/monitor.json", "the container's");
    m.exec().env("MOTE_STATE", "1").gate("end").shell("echo ready; : <end");
    m.run();
    m.wait_log("ready");
    CHECK(account_when(m, m.persist + "/exec.json", [](const Json&) { return true; })["pid"]
              .number() == m.process().pid());
    fs::remove(m.persist + "/exec.json");
    m.open_gate("end");
    m.end();
    CHECK(Json::parse(read_file(m.persist + "/exec.json"))["stdout_records"].number() == 1);
    CHECK(read_file(m.persist + "/monitor.json") == "the container's");
}

TEST_CASE("An exec session without a place of its own gives no account, and minds no USR1") {
    Monitor m;
    m.exec().drop("-b").drop("--persist-dir").env("MOTE_STATE", "1");
    m.cwd = m.dir.path();
    m.gate("end").shell("echo ready; : <end; exit 4");
    m.run();
    m.wait_log("ready");
    m.process().kill(SIGUSR1);
    m.open_gate("end");
    CHECK(m.end() == exited(4));
    CHECK(type_of(m.dir / "exec.json") == 0);
}

TEST_CASE("With MOTE_STATE=1 the account is there when the exit file is, and says all") {
    for (const std::string value : {"1", "0", "yes"}) {
        Monitor m;
        // The exit command sees the account too.
        m.exit_script({"record exit.json"});
        m.env("MOTE_STATE", value).shell("seq 1 20000; echo end >&2; exit 7");
        m.run();
        CHECK(m.exit_file() == "7");
        const auto text = try_read_file(m.persist + "/monitor.json");
        m.end();
        CHECK(text.has_value() == (value == "1"));
        if (text) {
            const Json told = Json::parse(*text);
            CHECK(told["stdout_records"].number() ==
                  std::ranges::count(m.records(), "stdout", &Record::stream));
            CHECK(told["stdout_bytes"].number() == 108'894);
            CHECK(told["stderr_records"].number() == 1);
            CHECK(told["lost_disk_records"].number() == 0);
            CHECK(told["clients"].number() == 0);
            CHECK(read_file(m.persist + "/monitor.json") == *text);
        }
        CHECK(names_in(m.persist) ==
              (value == "1" ? Lines{"exit", "monitor.json"} : Lines{"exit"}));
    }
}

TEST_CASE("A start that fails leaves no account") {
    Monitor m;
    m.env("MOTE_STATE", "1").script({"stderr no\n", "exit 1"});
    m.start();
    CHECK(m.end() == exited(1));
    CHECK(names_in(m.persist).empty());
}

TEST_CASE("An account that cannot be written delays nothing and changes no status") {
    Monitor m;
    m.env("MOTE_STATE", "1").gate("end").shell("echo ready; : <end; exit 9");
    fs::create_directory(m.persist + "/monitor.json"); // nothing can be renamed over it
    m.run();
    m.wait_log("ready");
    m.process().kill(SIGUSR1);
    m.open_gate("end");
    CHECK(m.exit_file() == "9");
    CHECK(m.end() == exited(9));
    CHECK(names_in(m.persist) == Lines{"exit", "monitor.json"});
}

TEST_CASE("Clients are counted: now, ever, and dropped") {
    Monitor m;
    m.env("MOTE_ATTACH_STALL_MS", "200").gate("go").gate("end");
    m.shell("echo ready; : <go; seq 1 200000; echo >written; : <end");
    m.run();
    m.wait_log("ready");
    const std::string path = m.persist + "/monitor.json";
    AttachClient stays = m.attach();
    {
        const AttachClient goes = m.attach();
        CHECK(account_when(
                  m,
                  path,
                  [](const Json& told) { return told["clients"].number() == 2; })["clients_ever"]
                  .number() == 2);
    }
    const Json two =
        account_when(m, path, [](const Json& told) { return told["clients"].number() == 1; });
    CHECK(two["clients_ever"].number() == 2);
    CHECK(two["clients_dropped"].number() == 0);
    // It reads nothing and is dropped for it; what it held back is a stall.
    m.open_gate("go");
    const Json none =
        account_when(m, path, [](const Json& told) { return told["clients"].number() == 0; });
    CHECK(none["clients_dropped"].number() == 1);
    CHECK(none["stalls"].number() >= 1);
    CHECK(none["stall_ms"].number() >= 190);
    CHECK(none["stall_ms"].number() <= none["written_ms"].number() - none["started_ms"].number());
    wait_file(m.bundle + "/written");
    m.open_gate("end");
    m.end();
}

TEST_CASE("A stall that goes on is counted up to the moment of the account") {
    Monitor m;
    m.gate("go").gate("end").shell("echo ready; : <go; seq 1 200000; : <end");
    m.run();
    m.wait_log("ready");
    AttachClient client = m.attach();
    m.open_gate("go");
    const std::string path = m.persist + "/monitor.json";
    const Json first =
        account_when(m, path, [](const Json& told) { return told["stall_ms"].number() > 0; });
    ::usleep(50'000);
    const Json second = account(m);
    CHECK(second["stalls"].number() == first["stalls"].number());
    CHECK(second["stall_ms"].number() - first["stall_ms"].number() >= 40);
    CHECK(second["stall_ms"].number() - first["stall_ms"].number() <=
          second["written_ms"].number() - first["written_ms"].number() + 2);
    client.close();
    m.open_gate("end");
    m.end();
}

TEST_CASE("Records beyond --log-global-size-max are counted as lost to the limit") {
    Monitor m;
    m.env("MOTE_STATE", "1").add({"--log-global-size-max", "5000"});
    m.shell("seq 100001 101000");
    m.run();
    m.end();
    const Json told = Json::parse(read_file(m.persist + "/monitor.json"));
    const long kept = static_cast<long>(m.records().size());
    CHECK(kept > 50);
    CHECK(kept < 200);
    CHECK(told["stdout_records"].number() >= 1000); // as above
    CHECK(told["lost_limit_records"].number() == told["stdout_records"].number() - kept);
    CHECK(told["lost_limit_bytes"].number() ==
          6 * 1000 - static_cast<long>(std::ranges::count_if(
                         payload_of(m.records()), [](char one) { return one != '\n'; })));
}

TEST_CASE("Rotations, reopenings and those that fail are counted") {
    Monitor m;
    m.add({"--log-rotate", "--log-max-files", "100", "--log-size-max", "1000"});
    m.gate("go").gate("end").shell("seq 1 500; : <go; echo more; : <end");
    m.run();
    m.wait_log("stdout F 500\n");
    const long backups = static_cast<long>(names_in(m.bundle).size());
    m.control("2 0 0\n");
    REQUIRE(eventually([&] { return static_cast<long>(names_in(m.bundle).size()) > backups; }));
    const Json told = account(m);
    const auto names = names_in(m.bundle);
    CHECK(told["rotations"].number() == std::ranges::count_if(names, [](const auto& name) {
              return name.starts_with("ctr.log.");
          }));
    CHECK(told["reopen_failures"].number() == 0);
    fs::create_directory(m.bundle + "/ctr.log.new");
    m.control("2 0 0\n");
    const Json failed = account_when(m, m.persist + "/monitor.json", [](const Json& now) {
        return now["reopen_failures"].number() != 0;
    });
    CHECK(failed["rotations"].number() == told["rotations"].number());
    m.open_gate("go");
    m.open_gate("end");
    m.end();
}

TEST_CASE("1,000 requests while the container floods lose nothing and tear no account") {
    Monitor m;
    m.gate("end").shell("seq 1 1000000; : <end");
    m.run();
    long last = 0;
    for (int n = 0; n < 1000; ++n) {
        m.process().kill(SIGUSR1);
        ::usleep(200);
        if (const auto text = try_read_file(m.persist + "/monitor.json")) {
            const long now = Json::parse(*text)["stdout_records"].number();
            CHECK(now >= last);
            last = now;
        }
    }
    CHECK(last > 0);
    m.wait_log("stdout F 1000000\n");
    const long records = account(m)["stdout_records"].number();
    m.open_gate("end");
    m.end();
    CHECK(names_in(m.persist) == Lines{"exit", "monitor.json"});
    CHECK(records >= 1'000'000); // a line is two if its writer was interrupted
    CHECK(records == static_cast<long>(m.records().size()));
    CHECK(std::ranges::count(payload_of(m.records()), '\n') == 1'000'000);
}
