// Finds two unordered works that access the same bytes, at least one of them writing. This is
// checked when a work is enqueued, because its order relative to all earlier works is known by
// then.
#pragma once

#include "clock.hpp"
#include "stand_in.hpp"

#include <optional>
#include <string>
#include <vector>

namespace stand_in {

struct Operation;

// The earlier of two works that race, and where.
struct Race {
    std::uint64_t operation;
    std::string kind;
    std::string label;
    unsigned stream;
    Range range;
};

class Races {
  public:
    // Records what an operation accesses. Returns the earlier operation that it races with, if
    // any.
    std::optional<Race> add(const Operation &operation);

    // Forgets operations that the host has seen end: nothing can race with them any more.
    void forget(const Clock &observed);

  private:
    struct Touch {
        Race who;
        std::uint64_t sequence;
    };

    std::vector<Touch> touches_;
};

} // namespace stand_in
