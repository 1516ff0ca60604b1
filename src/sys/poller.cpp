#include "sys/poller.h"

#include "sys/calls.h"

#include <algorithm>
#include <cerrno>
#include <climits>

namespace sys {

using base::fail;
using base::Result;

static_assert(Watch::hang_up == EPOLLHUP);

Result<Poller> Poller::create() {
    const int number = sys::epoll_create1(EPOLL_CLOEXEC);
    if (number < 0) {
        return fail(errno, "create epoll");
    }
    return Poller{Fd{number}};
}

Result<std::span<const Event>> Poller::wait(Instant now, Instant deadline, Batch& batch) {
    int timeout_ms = -1;
    if (deadline != never) {
        timeout_ms = static_cast<int>(std::clamp(deadline - now, Instant{0}, Instant{INT_MAX}));
    }
    std::array<epoll_event, batch_max> raw;
    const int count =
        sys::epoll_wait(epoll_.number(), raw.data(), static_cast<int>(raw.size()), timeout_ms);
    if (count < 0 && errno != EINTR) {
        return fail(errno, "wait for events");
    }
    const auto found = static_cast<size_t>(std::max(count, 0));
    for (size_t i = 0; i < found; ++i) {
        const uint64_t datum = raw[i].data.u64; // a copy: epoll_event is packed on x86-64
        const auto token = std::bit_cast<Token>(datum);
        batch[i] = {.source = token.source, .slot = token.slot, .mask = raw[i].events};
        batch_generations_[i] = token.generation;
    }
    batch_ = {batch.data(), found};
    return batch_;
}

bool Poller::is_current(const Event& event) const {
    const auto index = static_cast<size_t>(&event - batch_.data());
    CHECK(index < batch_.size());
    return generations_[place_of(event.source, event.slot)] == batch_generations_[index];
}

size_t Poller::place_of(Source source, uint8_t slot) {
    CHECK(slot < slots_max && (slot == 0 || source == Source::attach_client));
    return source == Source::attach_client ? source_count + slot : static_cast<size_t>(source);
}

uint32_t& Poller::generation_of(Source source, uint8_t slot) {
    return generations_[place_of(source, slot)];
}

Watch::Watch(Poller& poller, Source source, uint8_t slot, Fd fd)
    : poller_{&poller}, fd_{std::move(fd)}, generation_{++poller.generation_of(source, slot)},
      source_{source}, slot_{slot} {}

Watch::Watch(Watch&& other) noexcept
    : poller_{std::exchange(other.poller_, nullptr)}, fd_{std::move(other.fd_)},
      wanted_{std::exchange(other.wanted_, nothing)}, generation_{other.generation_},
      source_{other.source_}, slot_{other.slot_} {}

Watch& Watch::operator=(Watch&& other) noexcept {
    if (this != &other) {
        close();
        poller_ = std::exchange(other.poller_, nullptr);
        fd_ = std::move(other.fd_);
        wanted_ = std::exchange(other.wanted_, nothing);
        generation_ = other.generation_;
        source_ = other.source_;
        slot_ = other.slot_;
    }
    return *this;
}

bool Watch::watch_copy(Poller& poller, Source source, FdRef original, uint32_t mask) {
    *this = Watch{poller, source, 0, Fd{sys::fcntl(original.number(), F_DUPFD_CLOEXEC, 3)}};
    if (!valid() || !want(mask)) {
        close();
    }
    return valid();
}

Result<void> Watch::want(uint32_t mask) {
    if (mask == wanted_) {
        return {};
    }
    CHECK(valid());
    if (mask == nothing) {
        unregister();
        return {};
    }
    epoll_event event{};
    event.events = mask;
    event.data.u64 = std::bit_cast<uint64_t>(
        Token{.source = source_, .slot = slot_, .reserved = 0, .generation = generation_});
    const int operation = wanted_ == nothing ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (sys::epoll_ctl(poller_->epoll_.number(), operation, fd_.number(), &event) != 0) {
        return fail(errno, "watch descriptor");
    }
    wanted_ = mask;
    return {};
}

void Watch::unregister() {
    if (wanted_ != nothing) {
        // Before 2.6.9 the kernel wanted an event here too; it is harmless.
        epoll_event event{};
        (void)sys::epoll_ctl(poller_->epoll_.number(), EPOLL_CTL_DEL, fd_.number(), &event);
        wanted_ = nothing;
    }
}

void Watch::retire() {
    // A newer watch, which is being assigned over this one, may have the place already.
    uint32_t& current = poller_->generation_of(source_, slot_);
    if (current == generation_) {
        ++current;
    }
}

void Watch::close() {
    if (!valid()) {
        return;
    }
    unregister();
    retire();
    fd_.reset();
}

Fd Watch::take() {
    unregister();
    retire();
    return std::move(fd_);
}

} // namespace sys
