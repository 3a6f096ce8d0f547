// Streams: queues of works with a thread each.
#pragma once

#include "driver.hpp"

namespace stand_in {

std::shared_ptr<Stream> open_stream(Driver &driver, Context &context, unsigned flags, int priority);
void close_stream(Driver &driver, Stream &stream);

// The stream behind a handle in the current context, the null stream included. Null if there is
// none, or if it belongs to another context.
std::shared_ptr<Stream> stream_of(Driver &driver, CUstream handle);

// What an operation needs beside its work.
struct Extra {
    std::vector<std::shared_ptr<Operation>> after;
    std::uint64_t graph_launch = 0;
    // Where the operation is wanted. It stays null while the stream is captured.
    std::shared_ptr<Operation> *out = nullptr;
};

// Puts a work at the end of a stream, or into the capture that the stream is in.
CUresult submit(Driver &driver, const std::shared_ptr<Stream> &stream, Work work, Extra extra = {});

// Waits until an operation has ended. The host has then seen it end. Gives the error of the
// device, if it has one.
CUresult wait_for(Driver &driver, Lock &lock, const std::shared_ptr<Operation> &operation);

// The host has seen all of this come to its end.
void observe(Driver &driver, const Clock &clock);

// Waits for everything that was enqueued on a device.
CUresult wait_for_device(Driver &driver, Lock &lock, const Device &device);

// The same for a call that a program makes: a capture forbids it.
CUresult synchronize_device(Driver &driver, Lock &lock, const Device &device);

// Whether a work that has not ended touches this range.
bool in_use(const Driver &driver, const Range &range);

} // namespace stand_in
