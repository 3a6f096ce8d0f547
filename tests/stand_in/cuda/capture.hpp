// Stream capture: works that are written down as a graph and not done.
#pragma once

#include "driver.hpp"

namespace stand_in {

struct Capture {
    std::shared_ptr<Stream> origin;
    std::thread::id thread;
    int mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    bool invalidated = false;
    std::vector<Node> nodes;
    // What the next work of each stream in the capture comes after.
    std::map<Stream *, std::set<std::size_t>> frontiers;
};

// Writes a work down for a stream that is captured.
CUresult capture_work(Stream &stream, Work work);

// Whether a work of this stream that is not captured would have to wait for one that is: the
// null stream and a blocking stream under capture.
CUresult touches_captured(Driver &driver, const Stream &stream);

// Looks whether captures forbid a call that may wait or allocate, to this thread. A capture that
// does is invalid from then on.
CUresult forbidden_by_captures(Driver &driver);

} // namespace stand_in
