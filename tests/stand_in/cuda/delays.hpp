// How long works take, so that a wait that is missing shows in what comes out.
//
//     STAND_IN_DELAY=upload:300us,infer:2ms+50us/row,random:7:2ms
//
// KIND:BASE or KIND:BASE+ROW/row is the same every time; `random:SEED:MOST` gives all the
// other kinds a time of their own each, the same ones for the same seed. A work waits
// first and reads and writes at the end of its time.
#pragma once

#include "stand_in.hpp"

#include <chrono>
#include <map>
#include <random>
#include <string>

namespace stand_in {

class Delays {
  public:
    // Puts the items of a text in the place of all that was set. Throws
    // std::invalid_argument, and then leaves it as it was.
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
