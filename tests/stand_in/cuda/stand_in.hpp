// What the two stand-in libraries say to each other, and what a test may call by name.
//
// Everything that a device does is a `Work`: the ranges of memory that it reads and writes, and a
// function that runs in stream order. Calls of the driver make them (copies, kernels), and so does
// the stand-in for TensorRT (inference).
#pragma once

#include "api.hpp"

#include <functional>
#include <string>
#include <vector>

namespace stand_in {

// Bytes from `begin` up to `end` that a work reads or writes.
struct Range {
    std::uintptr_t begin;
    std::uintptr_t end;
    bool writes;

    bool overlaps(const Range &other) const { return begin < other.end && other.begin < end; }
    bool contains(const Range &other) const { return begin <= other.begin && other.end <= end; }
};

struct Work {
    // One word for the trace, the faults and the delays: see `WORK_KINDS`.
    const char *kind = "";
    // Which kernel, which tower.
    std::string label;
    std::size_t bytes = 0;
    std::size_t rows = 0;
    std::vector<Range> ranges;
    // Runs on the stream's thread, with no lock held.
    std::function<CUresult()> act;
    // Set if the call itself shows that the work is invalid: it then fails as an illegal address
    // when it runs.
    std::string illegal;
};

// Enqueues a work in a stream, as any call of the driver does.
STAND_IN_EXPORT CUresult enqueue(CUstream stream, Work work);

// Counts an occurrence of `kind` and returns the error it must fail with, if any.
STAND_IN_EXPORT CUresult fault(const char *kind);

// Reports a misuse in the trace.
STAND_IN_EXPORT void misuse(const std::string &text);

// Counts live objects that only the other library knows, for the list of leaks.
STAND_IN_EXPORT void living(const char *what, int change);

} // namespace stand_in

// A command of the control socket, for programs that are linked to the library. Writes
// the answer, cut to `capacity`, and returns its whole length.
CUDA_API std::size_t stand_in_control(const char *command, char *answer, std::size_t capacity);

// Writes the trace to where STAND_IN_TRACE says.
CUDA_API void stand_in_trace_flush();
