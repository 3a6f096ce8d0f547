// Finds two works that touch the same bytes, one of them writing, with nothing that
// orders them. It is asked when a work is enqueued, because everything that orders
// works is known by then.
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
    // Notes what an operation touches and says with which earlier one it races, if with any.
    std::optional<Race> add(const Operation &operation);

    // Forgets what the host has seen come to its end: nothing can race with it any more.
    void forget(const Clock &observed);

  private:
    struct Touch {
        Race who;
        std::uint64_t sequence;
    };

    std::vector<Touch> touches_;
};

} // namespace stand_in
