// The driver's allocations. Device memory is host memory at reserved addresses: each allocation
// lies between inaccessible pages, and no address is used twice, so a pointer into freed memory is
// always recognized.
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
    // The device it belongs to; for pinned memory, the device that was current.
    int device;
    // False for memory that the program allocated itself and registered as pinned.
    bool owned;

    Range all() const { return {begin, begin + bytes, true}; }
};

class Memory {
  public:
    // Null when the operating system has no more.
    const Allocation *allocate(Place place, int device, std::size_t bytes);
    const Allocation *register_pinned(int device, std::uintptr_t begin, std::size_t bytes);
    void release(std::uintptr_t begin);

    // The live allocation that contains an address, if there is one.
    const Allocation *find(std::uintptr_t address) const;
    // The live allocation that begins at an address, if there is one.
    const Allocation *exact(std::uintptr_t begin) const;

    // Why a device may not access this range; nothing if it may.
    std::string objection(const Range &range, int device) const;

    // Whether the range overlaps anything that was ever allocated.
    bool given(const Range &range) const;

    const std::map<std::uintptr_t, Allocation> &living() const { return living_; }

  private:
    std::map<std::uintptr_t, Allocation> living_;
    std::map<std::uintptr_t, Allocation> freed_;
    std::uint64_t count_ = 0;
};

} // namespace stand_in
