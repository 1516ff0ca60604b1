// A memory cgroup of a test's own, of version 1 or 2, whichever the machine has, with a limit: for
// containers that are killed for want of memory, and for a monitor that must not be. Needs
// privileges.

#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

namespace support {

class MemoryCgroup {
  public:
    // Makes the group; throws Broken where there is no memory controller to be had.
    explicit MemoryCgroup(const std::string& name);
    MemoryCgroup(const MemoryCgroup&) = delete;
    MemoryCgroup& operator=(const MemoryCgroup&) = delete;
    // Waits for the processes in it to be gone, and removes it.
    ~MemoryCgroup();

    const std::string& path() const { return path_; }
    bool is_v1() const { return is_v1_; }
    // Writing "0" to it moves the writer into the group.
    std::string procs() const { return path_ + "/cgroup.procs"; }
    void limit(uint64_t bytes) const;
    // Removes it; false while there is a process in it.
    bool try_remove();

  private:
    bool is_v1_;
    std::string path_;
    bool is_removed_ = false;
};

// The mount point of cgroup v2, whether or not v1 is there too; empty where there is none.
std::string cgroup2_root();

} // namespace support
