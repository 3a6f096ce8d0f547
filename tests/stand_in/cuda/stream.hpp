// Streams: queues of works with a thread each.
#pragma once

#include "driver.hpp"

namespace stand_in {

std::shared_ptr<Stream> open_stream(Driver &driver, Context &context, unsigned flags, int priority);
void close_stream(Driver &driver, Stream &stream);

// The stream of a handle in the current context, which may be the null stream. Null if there is no
// such stream, or it belongs to another context.
std::shared_ptr<Stream> stream_of(Driver &driver, CUstream handle);

// What an operation needs besides its work.
struct Extra {
    std::vector<std::shared_ptr<Operation>> after;
    std::uint64_t graph_launch = 0;
    // Receives the operation; stays null if the stream is being captured.
    std::shared_ptr<Operation> *out = nullptr;
};

// Appends a work to a stream, or to its capture if it is being captured.
CUresult submit(Driver &driver, const std::shared_ptr<Stream> &stream, Work work, Extra extra = {});

// Waits until an operation has ended, and records that the host has seen it end. Returns the
// device's error, if it has one.
CUresult wait_for(Driver &driver, Lock &lock, const std::shared_ptr<Operation> &operation);

// Records that the host has seen all of this end.
void observe(Driver &driver, const Clock &clock);

// Waits for everything that was enqueued on a device.
CUresult wait_for_device(Driver &driver, Lock &lock, const Device &device);

// The same for a call by the program, which is forbidden during a capture.
CUresult synchronize_device(Driver &driver, Lock &lock, const Device &device);

// Whether a work that has not ended accesses this range.
bool in_use(const Driver &driver, const Range &range);

} // namespace stand_in
