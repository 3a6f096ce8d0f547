// The memory that the driver gave out. A device's memory is the host's, at addresses that
// nothing else gets: each allocation stands between pages that nobody may touch, and an
// address is never given twice, so that a pointer into something freed stays recognizable.
#pragma once

#include "stand_in.hpp"

#include <map>
#include <string>

namespace stand_in {

enum class Place { device, pinned };

struct Allocation {
    std::uint64_t id;
    std::uintptr_t begin;
    std::size_t bytes;
    Place place;
    // The device that it lies on, or the one that was current for pinned memory.
    int device;
    // Whether it is ours, and not memory of the program's that was registered as pinned.
    bool owned;

    Range all() const { return {begin, begin + bytes, true}; }
};

class Memory {
  public:
    // Null when the operating system has no more.
    const Allocation *allocate(Place place, int device, std::size_t bytes);
    const Allocation *register_pinned(int device, std::uintptr_t begin, std::size_t bytes);
    void release(std::uintptr_t begin);

    // The living allocation in which an address lies, if there is one.
    const Allocation *find(std::uintptr_t address) const;
    // The living allocation that begins there.
    const Allocation *exact(std::uintptr_t begin) const;

    // Why a device may not touch this range, or nothing.
    std::string objection(const Range &range, int device) const;

    // Whether the range touches anything that was ever given out.
    bool given(const Range &range) const;

    const std::map<std::uintptr_t, Allocation> &living() const { return living_; }

  private:
    std::map<std::uintptr_t, Allocation> living_;
    std::map<std::uintptr_t, Allocation> freed_;
    std::uint64_t count_ = 0;
};

} // namespace stand_in
