// File systems of a test's own: small ones that fill up, and read-only views. They live in a mount
// namespace that the test program enters for itself, so that nothing reaches the machine's.

#pragma once

#include <string>

namespace support {

// Enters a private mount namespace, once per test program. Needs privileges; throws Broken without.
void enter_private_mounts();

// A file system mounted for the life of this object.
class Mount {
  public:
    // A tmpfs of `size` (as the mount option: "64k") on the directory, which is created.
    static Mount tmpfs(const std::string& directory, const std::string& size);
    // What `what` names, a directory, in the place of `directory`.
    static Mount bind(const std::string& what, const std::string& directory);
    // The directory as a read-only view of itself.
    static Mount read_only(const std::string& directory);

    Mount(Mount&& other) noexcept : directory_(std::move(other.directory_)) {
        other.directory_.clear();
    }
    Mount& operator=(Mount&&) = delete;
    ~Mount();

    // Gives a tmpfs another size.
    void resize(const std::string& size) const;
    // Takes all the room that is left, in a file of that name.
    void fill(const std::string& name) const;

  private:
    explicit Mount(std::string directory) : directory_(std::move(directory)) {}

    std::string directory_;
};

} // namespace support
