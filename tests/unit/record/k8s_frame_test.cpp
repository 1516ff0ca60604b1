#include "record/k8s_frame.h"
#include "support/k8s_model.h"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using record::Stream;
using record::Tail;
using support::K8sModel;
using support::K8sStream;

namespace {

constexpr std::string_view stamp = "2026-01-31T23:59:59.123456789+05:30";

struct Record {
    char tag;
    std::string content;

    bool operator==(const Record&) const = default;
};

struct Records {
    std::vector<Record> all;
    std::string heads;

    void record(const record::K8sHead& head, record::Tag tag, base::Bytes content) {
        const auto bytes = head.with(tag);
        all.push_back({base::text_of(bytes)[43], std::string{base::text_of(content)}});
        heads = base::text_of(bytes);
    }
};

struct Framed {
    std::vector<Record> records;
    size_t consumed;
};

Framed framed(std::string_view text, Tail tail, size_t record_max = 16'384) {
    Records records;
    const size_t consumed = record::frame_k8s(
        stamp, Stream::standard_output, base::bytes_of(text), record_max, tail, records);
    return {records.all, consumed};
}

using Expected = std::vector<Record>;

} // namespace

TEST_CASE("a record's head is 45 bytes: stamp, stream, tag") {
    Records records;
    (void)record::frame_k8s(
        stamp, Stream::standard_error, base::bytes_of("a\n"), 256, Tail::record, records);
    REQUIRE(records.heads == "2026-01-31T23:59:59.123456789+05:30 stderr F ");
    (void)record::frame_k8s(
        stamp, Stream::standard_output, base::bytes_of("a"), 256, Tail::record, records);
    REQUIRE(records.heads == "2026-01-31T23:59:59.123456789+05:30 stdout P ");
    REQUIRE(records.heads.size() == record::K8sHead::size);
}

TEST_CASE("each line is one full record") {
    const Framed lines = framed("a\n\nbc\r\n", Tail::record);
    REQUIRE(lines.records == Expected{{'F', "a"}, {'F', ""}, {'F', "bc\r"}});
    REQUIRE(lines.consumed == 7);
    REQUIRE(framed("", Tail::record).records.empty());
    REQUIRE(framed("", Tail::hold_back).consumed == 0);
}

TEST_CASE("an unfinished line is held back while there is more, and partial when there is not") {
    const Framed held = framed("a\nbc", Tail::hold_back);
    REQUIRE(held.records == Expected{{'F', "a"}});
    REQUIRE(held.consumed == 2);
    const Framed recorded = framed("a\nbc", Tail::record);
    REQUIRE(recorded.records == Expected{{'F', "a"}, {'P', "bc"}});
    REQUIRE(recorded.consumed == 4);
}

TEST_CASE(
    "a container that dies without a newline leaves one P and nothing after (regression 51)") {
    REQUIRE(framed("a", Tail::record).records == Expected{{'P', "a"}});
    REQUIRE(framed("", Tail::record).records.empty());
}

TEST_CASE("a newline alone behind a part that was recorded early is an empty full record") {
    REQUIRE(framed("a", Tail::record).records == Expected{{'P', "a"}});
    REQUIRE(framed("\n", Tail::record).records == Expected{{'F', ""}});
}

TEST_CASE(
    "a line of exactly the record's limit is one record, a longer one is split (regression 52)") {
    const std::string limit(16'384, 'x');
    REQUIRE(framed(limit + "\n", Tail::record).records == Expected{{'F', limit}});
    REQUIRE(framed(limit + "y\n", Tail::record).records == Expected{{'P', limit}, {'F', "y"}});
    REQUIRE(framed(limit + limit + "\n", Tail::record).records ==
            Expected{{'P', limit}, {'F', limit}});
    REQUIRE(framed(limit + limit + "yz", Tail::record).records ==
            Expected{{'P', limit}, {'P', limit}, {'P', "yz"}});
    const std::string line(20'000, 'a');
    REQUIRE(framed(line + "\n", Tail::record, 8'192).records ==
            Expected{{'P', line.substr(0, 8'192)},
                     {'P', line.substr(0, 8'192)},
                     {'F', line.substr(0, 3'616)}});
}

TEST_CASE("a line as long as the limit waits for the byte that says whether it ends") {
    const std::string limit(256, 'x');
    REQUIRE(framed(limit, Tail::hold_back, 256).consumed == 0);
    const Framed longer = framed(limit + "y", Tail::hold_back, 256);
    REQUIRE(longer.records == Expected{{'P', limit}});
    REQUIRE(longer.consumed == 256);
    REQUIRE(framed(limit, Tail::record, 256).records == Expected{{'P', limit}});
}

TEST_CASE("every byte but the newline is content") {
    std::string line;
    for (int value = 0; value < 256; ++value) {
        if (value != '\n') {
            line += static_cast<char>(value);
        }
    }
    REQUIRE(framed(line + "\n", Tail::record).records == Expected{{'F', line}});
}

TEST_CASE("random streams in random pieces are framed as the byte-by-byte model does it") {
    std::mt19937_64 random{20'260'131};
    for (int turn = 0; turn < 400; ++turn) {
        const size_t record_max = turn % 2 == 0 ? 256 + random() % 300 : 1 + random() % 40;
        K8sModel model{std::string{stamp} + " stderr ? ", record_max};
        K8sStream stream{stamp, Stream::standard_error, record_max};
        std::string written;
        const size_t rarity = 1 + random() % (2 * record_max);
        const size_t piece_max = 1 + random() % 1'500;
        for (int pieces = 0; pieces < 30; ++pieces) {
            std::string piece(random() % piece_max, ' ');
            for (char& one : piece) {
                one = random() % rarity == 0 ? '\n' : static_cast<char>(random());
            }
            const Tail tail = pieces == 29 || random() % 4 == 0 ? Tail::record : Tail::hold_back;
            written += piece;
            model.bring(piece, tail);
            stream.bring(piece, tail);
            CAPTURE(turn, pieces, record_max);
            REQUIRE(stream.held() == model.held());
            REQUIRE(stream.held().size() <= record_max);
            REQUIRE((stream.log() == model.log()));
        }
        REQUIRE((stream.reread() == written));
    }
}

TEST_CASE("lines as long as a buffer, in buffers as large as they get, agree with the model") {
    std::mt19937_64 random{77};
    for (const size_t record_max : {size_t{256}, size_t{16'384}, size_t{65'536}}) {
        K8sModel model{std::string{stamp} + " stdout ? ", record_max};
        K8sStream stream{stamp, Stream::standard_output, record_max};
        std::string written;
        for (size_t length :
             {record_max - 1, record_max, record_max + 1, 3 * record_max, size_t{0}}) {
            written += std::string(length, 'l') + "\n";
        }
        written += std::string(2 * record_max + 7, 'e');
        for (size_t at = 0; at < written.size();) {
            const std::string piece = written.substr(at, 1 + random() % 65'536);
            at += piece.size();
            const Tail tail = at >= written.size() ? Tail::record : Tail::hold_back;
            model.bring(piece, tail);
            stream.bring(piece, tail);
            REQUIRE(stream.held() == model.held());
        }
        REQUIRE((stream.log() == model.log()));
        REQUIRE((stream.reread() == written));
    }
}
