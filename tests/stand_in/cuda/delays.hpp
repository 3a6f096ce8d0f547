// How long works take, so that a missing wait shows in the results.
//
//     STAND_IN_DELAY=upload:300us,infer:2ms+50us/row,random:7:2ms
//
// KIND:BASE or KIND:BASE+ROW/row is a fixed delay; `random:SEED:MOST` gives each work of the other
// kinds a random delay, reproducibly for a seed. A work sleeps first, and reads and writes
// afterwards.
#pragma once

#include "stand_in.hpp"

#include <chrono>
#include <map>
#include <random>
#include <string>

namespace stand_in {

class Delays {
  public:
    // Replaces all delays by those of a specification. Throws std::invalid_argument if it is
    // malformed, and changes nothing.
    void set(const std::string &text);

    std::chrono::nanoseconds of(const Work &work);

  private:
    struct Fixed {
        std::chrono::nanoseconds base{};
        std::chrono::nanoseconds row{};
    };

    std::map<std::string, Fixed> fixed_;
    std::chrono::nanoseconds most_{};
    std::mt19937_64 random_;
};

} // namespace stand_in
