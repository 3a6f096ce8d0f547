#include "races.hpp"

#include "driver.hpp"

#include <algorithm>

namespace stand_in {

std::optional<Race> Races::add(const Operation &operation) {
    std::optional<Race> found;
    for (const Range &range : operation.work.ranges) {
        for (const Touch &touch : touches_) {
            bool conflict = (range.writes || touch.who.range.writes) && range.overlaps(touch.who.range);
            if (conflict && !operation.clock.covers(touch.who.stream, touch.sequence)) {
                found = touch.who;
            }
        }
    }
    unsigned stream = operation.stream->number;
    for (const Range &range : operation.work.ranges) {
        // Anything ordered after this write is also ordered after the accesses it covers, so they
        // need not be kept.
        auto superseded = [&](const Touch &touch) {
            return range.writes && range.contains(touch.who.range) &&
                   operation.clock.covers(touch.who.stream, touch.sequence);
        };
        touches_.erase(std::remove_if(touches_.begin(), touches_.end(), superseded), touches_.end());
    }
    for (const Range &range : operation.work.ranges) {
        Race who{operation.id, operation.work.kind, operation.work.label, stream, range};
        touches_.push_back({who, operation.sequence});
    }
    return found;
}

void Races::forget(const Clock &observed) {
    auto seen = [&](const Touch &touch) { return observed.covers(touch.who.stream, touch.sequence); };
    touches_.erase(std::remove_if(touches_.begin(), touches_.end(), seen), touches_.end());
}

} // namespace stand_in
