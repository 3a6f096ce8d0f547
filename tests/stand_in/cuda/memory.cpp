#include "memory.hpp"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace stand_in {
namespace {

// The initial contents of device memory, up to a bound that keeps tests fast. As a float of any
// width it is NaN, so that reading what was never written shows.
constexpr int FILL = 0xFF;
constexpr std::size_t FILL_MOST = std::size_t{64} << 20;

// Where device memory begins: far from anything that the operating system maps by itself.
#ifdef __SANITIZE_THREAD__
// This sanitizer only supports a few address ranges.
constexpr std::uintptr_t BASE = 0x7e80'0000'0000;
#else
constexpr std::uintptr_t BASE = 0x2000'0000'0000;
#endif

std::size_t whole_pages(std::size_t bytes) {
    auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

// Maps pages at an address that was never used, followed by an inaccessible page.
void *map_pages(std::size_t bytes) {
    static std::uintptr_t next = BASE;
    auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    void *wanted = reinterpret_cast<void *>(next);
    void *got = mmap(wanted, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (got == MAP_FAILED) {
        return nullptr;
    }
    next += bytes + page;
    return got;
}

const Allocation *containing(const std::map<std::uintptr_t, Allocation> &in,
                             std::uintptr_t address) {
    auto after = in.upper_bound(address);
    if (after == in.begin()) {
        return nullptr;
    }
    const Allocation &candidate = std::prev(after)->second;
    return address < candidate.begin + candidate.bytes ? &candidate : nullptr;
}

bool touches(const std::map<std::uintptr_t, Allocation> &in, const Range &range) {
    auto after = in.lower_bound(range.begin);
    return containing(in, range.begin) || (after != in.end() && after->first < range.end);
}

} // namespace

const Allocation *Memory::allocate(Place place, int device, std::size_t bytes) {
    void *pages = map_pages(whole_pages(bytes));
    if (!pages) {
        return nullptr;
    }
    if (place == Place::device) {
        std::memset(pages, FILL, std::min(bytes, FILL_MOST));
    }
    auto begin = reinterpret_cast<std::uintptr_t>(pages);
    return &living_.emplace(begin, Allocation{++count_, begin, bytes, place, device, true})
                .first->second;
}

const Allocation *Memory::register_pinned(int device, std::uintptr_t begin, std::size_t bytes) {
    return &living_.emplace(begin, Allocation{++count_, begin, bytes, Place::pinned, device, false})
                .first->second;
}

void Memory::release(std::uintptr_t begin) {
    auto found = living_.find(begin);
    if (found->second.owned) {
        munmap(reinterpret_cast<void *>(begin), whole_pages(found->second.bytes));
        freed_.insert(*found);
    }
    living_.erase(found);
}

const Allocation *Memory::find(std::uintptr_t address) const { return containing(living_, address); }

const Allocation *Memory::exact(std::uintptr_t begin) const {
    auto found = living_.find(begin);
    return found == living_.end() ? nullptr : &found->second;
}

std::string Memory::objection(const Range &range, int device) const {
    if (const Allocation *allocation = find(range.begin)) {
        if (range.end > allocation->begin + allocation->bytes) {
            return "it goes " + std::to_string(range.end - allocation->begin - allocation->bytes) +
                   " bytes past the end of allocation " + std::to_string(allocation->id);
        }
        if (allocation->place == Place::device && allocation->device != device) {
            return "allocation " + std::to_string(allocation->id) + " lies on another device";
        }
        return "";
    }
    if (const Allocation *allocation = containing(freed_, range.begin)) {
        return "allocation " + std::to_string(allocation->id) + " was freed";
    }
    return "no device memory and no pinned memory lies there";
}

bool Memory::given(const Range &range) const {
    return touches(living_, range) || touches(freed_, range);
}

} // namespace stand_in
