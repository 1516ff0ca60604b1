// Archive: the state of a running program, put aside for the program that takes its place under the
// same pid. Every part of the program has one function, carry(Archive&), that names each of its
// members once. Whether that saves or loads is the archive's matter, so the two cannot differ.
//
//     record     mark | layout | size of a pointer | all that is carried
//     bytes      their length | the bytes
//     descriptor its number; a watched one: and what is wanted of it
//
// Numbers are in the machine's own order. How a record stays readable by other versions:
//
//   - What a later version adds is carried behind everything else, whatever part it belongs to. Who
//     finds less than it carries keeps what its members were made with; who finds more leaves it.
//     So both directions work, and `layout` stays.
//   - Where that would be wrong (a member is dropped, moves, changes its meaning, or is a
//   descriptor
//     that an older program would leave open), `layout` grows by one, and the reader asks layout().
//     A program reads the layouts up to its own and refuses later ones.
//
// Nothing that is loaded is trusted: every length is checked here, and what a member must be
// within, by require(), where it is carried. After a first fault nothing more is loaded.
#pragma once

#include "sys/poller.h"

#include <concepts>

namespace sys {

class Archive {
  public:
    static constexpr uint32_t layout_now = 1;

    enum class Task : uint8_t {
        save,   // members into the record
        expose, // lets the next program inherit the descriptors
        hide,   // takes that back
        read,   // the record into members, on trial: there are no descriptors
        adopt,  // the record into members, and the descriptors become ours
    };

    // `record` is a file, which is not needed to expose or hide.
    Archive(Task task, FdRef record, Poller& poller)
        : record_{record}, poller_{poller}, task_{task} {}

    // Whether a file begins as records of every layout do.
    [[nodiscard]] static bool begins_record(FdRef file);

    // What stands in front of all that is carried.
    void begin();

    [[nodiscard]] uint32_t layout() const { return layout_; }
    [[nodiscard]] bool loads() const { return task_ >= Task::read; }

    template <std::integral T> void carry(T& number) { carry_raw(&number, sizeof number); }

    // Plain members that are declared one after the other, of which these are the first and the
    // last; nothing may be put between them. (A call for each would cost twice the code.) A flag
    // that is neither true nor false does no more harm than one that is wrong.
    template <typename First, typename Last> void carry_run(First& first, Last& last) {
        carry_raw(&first,
                  static_cast<size_t>(reinterpret_cast<std::byte*>(&last + 1) -
                                      reinterpret_cast<std::byte*>(&first)));
    }

    void carry_raw(void* member, size_t size);

    // `size`, and so many bytes of `storage`, which are never more than fit.
    void carry_bytes(base::MutableBytes storage, size_t& size);

    // Whether there is a descriptor, which on trial is not shown by what holds it.
    bool carry(Fd& fd);
    bool carry(Watch& watch, Source source, uint8_t slot = 0);

    // What must be true of what was loaded.
    void require(bool holds) { failed_ = failed_ || !holds; }

    // Of a time or an amount: that what the program adds to it and takes from it cannot overflow.
    void require_room(int64_t number);

    // Whether what was loaded up to here may be used.
    [[nodiscard]] bool is_good() const { return !failed_; }

  private:
    FdRef record_;
    uint32_t offset_ = 0;
    Poller& poller_;
    uint32_t layout_ = layout_now;
    Task task_;
    bool failed_ = false;
};

} // namespace sys
