// The framing of container output, byte by byte as the rules say it, to test the product's against;
// and a container's stream that comes in pieces.
#pragma once

#include "record/k8s_frame.h"

#include <string>
#include <string_view>
#include <vector>

namespace support {

// What the log holds for a stream that came in pieces. Every record begins with `head`, in which a
// '?' stands for the tag.
class K8sModel {
  public:
    K8sModel(std::string_view head, size_t record_max) : head_{head}, record_max_{record_max} {}

    void bring(std::string_view piece, record::Tail tail) {
        for (const char one : piece) {
            if (one == '\n') {
                put('F');
                continue;
            }
            if (line_.size() == record_max_) {
                put('P');
            }
            line_ += one;
        }
        if (tail == record::Tail::record && !line_.empty()) {
            put('P');
        }
    }

    [[nodiscard]] const std::string& log() const { return log_; }
    [[nodiscard]] const std::string& held() const { return line_; }

  private:
    void put(char tag) {
        std::string head = head_;
        head[head.find('?')] = tag;
        log_ += head + line_ + '\n';
        line_.clear();
    }

    std::string head_;
    size_t record_max_;
    std::string line_;
    std::string log_;
};

// The caller's side: holds back what is not consumed, and keeps what is recorded.
class K8sStream {
  public:
    K8sStream(std::string_view stamp, record::Stream stream, size_t record_max)
        : stamp_{stamp}, stream_{stream}, record_max_{record_max} {}

    void bring(std::string_view piece, record::Tail tail) {
        held_ += piece;
        // A copy of just this size, so that a sanitizer sees every byte that is read beside it.
        const std::vector<char> bytes{held_.begin(), held_.end()};
        const size_t consumed = record::frame_k8s(stamp_,
                                                  stream_,
                                                  base::bytes_of({bytes.data(), bytes.size()}),
                                                  record_max_,
                                                  tail,
                                                  *this);
        held_.erase(0, consumed);
    }

    void record(const record::K8sHead& head, record::Tag tag, base::Bytes content) {
        log_ += base::text_of(head.with(tag));
        log_ += base::text_of(content);
        log_ += '\n';
        // What a reader makes of it: the contents, with a newline behind those of F records.
        reread_ += base::text_of(content);
        if (tag == record::Tag::full) {
            reread_ += '\n';
        }
    }

    [[nodiscard]] const std::string& log() const { return log_; }
    [[nodiscard]] const std::string& held() const { return held_; }
    [[nodiscard]] const std::string& reread() const { return reread_; }

  private:
    std::string stamp_;
    record::Stream stream_;
    size_t record_max_;
    std::string held_;
    std::string log_;
    std::string reread_;
};

} // namespace support
