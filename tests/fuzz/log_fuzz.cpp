// The log file on a disk that fails: records one by one and in batches, rotations, renames by
// somebody else, while system calls fail or move less than was asked. Every file holds whole
// records, in order and none of them twice; without a fault and a limit all of them are there.
//
// The first bytes choose the settings. Then come steps: what to do, and how much of it.

#include "fuzz/input.h"
#include "fuzz/place.h"
#include "record/k8s_file.h"

#include <array>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using fuzz::must;

constexpr std::string_view stamp = "2026-01-31T23:59:59.123456789+05:30";
constexpr std::string_view head = "2026-01-31T23:59:59.123456789+05:30 stdout F ";
constexpr std::array<std::string_view, 11> calls{"write",
                                                 "writev",
                                                 "ftruncate",
                                                 "fstat",
                                                 "openat",
                                                 "renameat",
                                                 "unlinkat",
                                                 "fstatat",
                                                 "fcntl",
                                                 "fsync",
                                                 "stat"};
constexpr size_t content_max = 1500; // two records fit the ring
constexpr int steps_max = 100;

std::string content_of(size_t number, size_t size) {
    std::string content = std::to_string(number) + ' ';
    content.resize(std::max(content.size(), size), static_cast<char>('a' + number % 26));
    return content;
}

class Check {
  public:
    // A torn end is what a disk that refuses everything leaves.
    void look_at(const std::string& text, bool may_be_torn) {
        size_t last = 0;
        bool is_first = true;
        for (size_t at = 0; at < text.size();) {
            const size_t end = text.find('\n', at);
            if (end == std::string::npos) {
                must(may_be_torn);
                return;
            }
            std::string line = text.substr(at, end - at);
            at = end + 1;
            if (line == "what was there" || head.starts_with(line)) {
                continue;
            }
            if (const size_t begin = line.find(head); begin != std::string::npos && begin != 0) {
                // The end of an old log that could not be looked at.
                must(may_be_torn && head.starts_with(line.substr(0, begin)));
                line.erase(0, begin);
            }
            must(line.starts_with(head));
            const std::string content = line.substr(head.size());
            const size_t number = std::stoul(content);
            must(content == content_of(number, content.size()));
            must((is_first || number > last) && seen_.insert(number).second);
            last = number;
            is_first = false;
        }
    }

    [[nodiscard]] size_t count() const { return seen_.size(); }

  private:
    std::set<size_t> seen_;
};

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

enum class Kind : uint8_t { regular, fifo, device };

class Disk {
  public:
    Disk(fuzz::Input& input, const fuzz::Place& place)
        : input_{input}, place_{place}, path_{place / "log"}, allowed_{place.path().c_str()} {
        const uint8_t choice = input.byte();
        kind_ = (choice & 3U) == 3 ? Kind::fifo : (choice & 7U) == 2 ? Kind::device : Kind::regular;
        constexpr std::array<int64_t, 4> sizes{-1, 300, 2000, 9000};
        settings_.size_max = sizes[choice >> 3 & 3U];
        settings_.global_size_max = (choice & 0x20U) != 0 ? 5000 : -1;
        settings_.backups = (choice >> 6) == 3 ? 100 : choice >> 6;
        const uint8_t more = input.byte();
        if (kind_ == Kind::device) {
            path_ = "/dev/null";
        } else if (kind_ == Kind::fifo) {
            must(::mkfifo(path_.c_str(), 0600) == 0);
            if ((more & 1U) != 0) {
                open_reader();
            }
        } else if ((more & 2U) != 0) {
            std::ofstream(path_) << "what was there\n" << head.substr(0, more >> 4);
        }
        if ((more & 4U) != 0 && kind_ != Kind::device) {
            settings_.name.allowed_directories = {&allowed_, 1};
        }
        settings_.name.path = path_.c_str();
        diag_.leave_standard_error();
    }
    ~Disk() {
        if (reader_ >= 0) {
            ::close(reader_);
        }
    }
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;

    void live() {
        const shadow::Faults faults([&](const shadow::Call& call) { return plan_.judge(call); });
        draw_fault(); // of the opening
        record::Counters counters{};
        record::K8sFile log(settings_, ring_, counters, diag_);
        if (!log.open()) {
            must(plan_.drawn());
            return;
        }
        must(log.is_paced() == (kind_ != Kind::regular) || plan_.drawn());
        for (int step = 0; step < steps_max && !input_.empty(); ++step) {
            take_step(log);
        }
        plan_.stop();
        read_fifo();
        log.finish(now_);
        read_fifo();
        if (kind_ == Kind::fifo) {
            log.finish(now_); // what the pipe had no room for
            read_fifo();
        }
        log.sync();
        check();
    }

  private:
    void draw_fault() {
        if ((input_.byte() & 1U) != 0) {
            plan_.draw(input_, calls);
        }
    }

    void take_step(record::K8sFile& log) {
        const uint8_t step = input_.byte();
        switch (step % 10) {
        case 0:
        case 1:
            put(log, 1 + step / 10);
            break;
        case 2:
        case 3:
            put_batch(log, 1 + step / 10);
            break;
        case 4:
            log.flush(now_++);
            break;
        case 5:
            ++reopenings_;
            log.reopen();
            break;
        case 6:
            if (kind_ == Kind::regular && renamed_ < 9) {
                (void)::rename(path_.c_str(), (path_ + "-" + std::to_string(renamed_++)).c_str());
                log.reopen();
            }
            break;
        case 7:
            plan_.draw(input_, calls);
            break;
        case 8:
            plan_.stop();
            if (log.deadline() != sys::never) {
                now_ = log.deadline();
                log.flush(now_);
            }
            break;
        case 9:
            open_reader();
            read_fifo();
            break;
        }
    }

    std::string next_content() { return content_of(count_++, input_.number() % content_max); }

    void put(record::K8sFile& log, int count) {
        const record::K8sHead head{stamp, record::Stream::standard_output};
        for (int i = 0; i < count; ++i) {
            log.record(head, record::Tag::full, base::bytes_of(next_content()));
        }
    }

    void put_batch(record::K8sFile& log, int count) {
        std::string lines;
        for (int i = 0; i < count; ++i) {
            lines += next_content() + '\n';
        }
        uint64_t records = 0;
        (void)record::frame_k8s(stamp,
                                record::Stream::standard_output,
                                base::bytes_of(lines),
                                content_max + 20,
                                record::Tail::record,
                                record::K8sFile::Batch{log, records});
    }

    void open_reader() {
        if (kind_ == Kind::fifo && reader_ < 0) {
            reader_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        }
    }

    void read_fifo() {
        if (kind_ == Kind::fifo) {
            open_reader();
            static std::array<char, 65536> bytes;
            for (ssize_t size = 0; (size = ::read(reader_, bytes.data(), bytes.size())) > 0;) {
                read_.append(bytes.data(), static_cast<size_t>(size));
            }
        }
    }

    void check() {
        Check check;
        check.look_at(read_, plan_.drawn());
        if (kind_ == Kind::regular) {
            for (const auto& entry : std::filesystem::directory_iterator(place_.path())) {
                check.look_at(contents(entry.path()), plan_.drawn());
            }
        }
        // A record, or a reopening, is one rotation at most.
        const size_t rotations = (settings_.size_max > 0 ? count_ : 0) + reopenings_;
        const bool may_drop =
            settings_.global_size_max > 0 || rotations > static_cast<size_t>(settings_.backups);
        if (kind_ == Kind::regular && !plan_.drawn() && !may_drop) {
            must(check.count() == count_);
        }
    }

    fuzz::Input& input_;
    const fuzz::Place& place_;
    std::string path_;
    const char* allowed_;
    record::K8sFile::Settings settings_;
    fuzz::Plan plan_;
    sys::Diag diag_;
    std::array<std::byte, 4096> ring_;
    Kind kind_ = Kind::regular;
    size_t reopenings_ = 0;
    int renamed_ = 0;
    int reader_ = -1;
    std::string read_;
    size_t count_ = 0;
    sys::Instant now_ = 1;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Place place;
    place.clear();
    fuzz::Input input{data, size};
    Disk{input, place}.live();
    return 0;
}
