// A directory in memory for one fuzz target, emptied before each input.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace fuzz {

class Place {
  public:
    Place() {
        std::string path = "/dev/shm/mote-fuzz-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) {
            path = "/tmp/mote-fuzz-XXXXXX";
            if (::mkdtemp(path.data()) == nullptr) {
                std::abort();
            }
        }
        path_ = path;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { std::filesystem::remove_all(path_); }

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string operator/(const std::string& name) const {
        return path_ + "/" + name;
    }

    void clear() const {
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            std::filesystem::remove_all(entry.path());
        }
    }

  private:
    std::string path_;
};

} // namespace fuzz
