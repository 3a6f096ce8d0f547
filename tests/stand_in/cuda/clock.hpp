// Which operations are known to come before which: a vector clock with one place per
// stream. An operation is before another when the other's clock covers it. Events, the
// null stream and the host's waits join clocks; nothing here depends on how fast a stream
// happens to be, so a missing wait is found even when everything comes out in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace stand_in {

class Clock {
  public:
    void join(const Clock &other) {
        if (at_.size() < other.at_.size()) {
            at_.resize(other.at_.size());
        }
        for (std::size_t i = 0; i < other.at_.size(); ++i) {
            at_[i] = std::max(at_[i], other.at_[i]);
        }
    }

    void set(unsigned stream, std::uint64_t sequence) {
        if (at_.size() <= stream) {
            at_.resize(stream + 1);
        }
        at_[stream] = sequence;
    }

    bool covers(unsigned stream, std::uint64_t sequence) const {
        return stream < at_.size() && at_[stream] >= sequence;
    }

  private:
    std::vector<std::uint64_t> at_;
};

} // namespace stand_in
