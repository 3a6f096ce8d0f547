// Stream capture: works are recorded as a graph instead of being run.
#pragma once

#include "driver.hpp"

namespace stand_in {

struct Capture {
    std::shared_ptr<Stream> origin;
    std::thread::id thread;
    int mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    bool invalidated = false;
    std::vector<Node> nodes;
    // The works that the next work of each captured stream depends on.
    std::map<Stream *, std::set<std::size_t>> frontiers;
};

// Records a work of a stream that is being captured.
CUresult capture_work(Stream &stream, Work work);

// Whether a work of this stream, which is not being captured, would have to wait for a captured
// one, as between the null stream and a blocking stream.
CUresult touches_captured(Driver &driver, const Stream &stream);

// Checks whether a capture forbids this thread a call that may wait or allocate. If so, the
// capture becomes invalid.
CUresult forbidden_by_captures(Driver &driver);

} // namespace stand_in
