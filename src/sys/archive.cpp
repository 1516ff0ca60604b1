#include "sys/archive.h"

#include "sys/calls.h"

#include <new>

namespace sys {

using base::MutableBytes;

namespace {

struct Head {
    uint64_t mark;
    uint32_t layout;
    uint32_t width;
};

// "mote\nst\n" where the least significant byte comes first.
constexpr uint64_t head_mark = 0x0A74730A65746F6D;

} // namespace

bool Archive::begins_record(FdRef file) {
    uint64_t mark = 0;
    return sys::pread(file.number(), &mark, sizeof mark, 0) == sizeof mark && mark == head_mark;
}

void Archive::begin() {
    Head head{.mark = head_mark, .layout = layout_now, .width = sizeof(void*)};
    carry_run(head, head);
    layout_ = head.layout;
    require(layout_ - 1 < layout_now && head.width == sizeof(void*));
}

void Archive::carry_raw(void* member, size_t size) {
    if (failed_ || (task_ != Task::save && !loads())) {
        return;
    }
    const ssize_t moved = loads() ? sys::pread(record_.number(), member, size, offset_)
                                  : sys::pwrite(record_.number(), member, size, offset_);
    offset_ += static_cast<uint32_t>(size);
    // At its end: an older version did not know of this member.
    require(moved == static_cast<ssize_t>(size) || (loads() && moved == 0));
}

void Archive::carry_bytes(MutableBytes storage, size_t& size) {
    carry(size);
    require(size <= storage.size());
    carry_raw(storage.data(), size);
}

void Archive::require_room(int64_t number) {
    require(number < INT64_MAX / 2 && number > INT64_MIN / 2);
}

// A descriptor keeps its number. Those of the standard streams are nobody's own.
bool Archive::carry(Fd& fd) {
    int number = fd.number();
    carry(number);
    if (number < 0 || failed_) {
        return false;
    }
    require(number > STDERR_FILENO);
    if (!failed_ && task_ != Task::save && task_ != Task::read) {
        require(sys::fcntl(number, F_SETFD, task_ == Task::expose ? 0 : FD_CLOEXEC) == 0);
    }
    if (task_ == Task::adopt && !failed_) {
        fd.reset(number);
    }
    return true;
}

bool Archive::carry(Watch& watch, Source source, uint8_t slot) {
    uint32_t wanted = watch.wanted_;
    const bool is_there = carry(watch.fd_);
    carry(wanted);
    if (task_ == Task::adopt && watch.valid()) {
        // There was none. What it wanted was granted to the program before us, a moment ago.
        new (&watch) Watch{poller_, source, slot, std::move(watch.fd_)};
        (void)watch.want(wanted);
    }
    return is_there;
}

} // namespace sys
