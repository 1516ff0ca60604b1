// Processes that keep the processors busy while a test runs.

#pragma once

#include "support/process.h"

#include <csignal>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace support {

class Load {
  public:
    Load() {
        for (int n = 0; n < 3; ++n) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                while (true) {
                }
            }
            spinners_.emplace_back(pid);
        }
    }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    ~Load() {
        // The last Monitor that is destroyed may have reaped them already.
        for (const auto& spinner : spinners_) {
            spinner.kill(SIGKILL);
            ::waitpid(spinner.pid(), nullptr, 0);
        }
    }

    size_t size() const { return spinners_.size(); }

  private:
    std::vector<Process> spinners_;
};

} // namespace support
