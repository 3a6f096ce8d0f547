// One inference: the engine's function of each row, and how it is enqueued.
#pragma once

#include "engine.hpp"

#include <optional>

namespace stand_in {

// Computes an output from an input, both in host memory. It has copies of what it needs of the
// engine.
using Compute = std::function<void(const void *input, void *output)>;

// `slot` is the number of the stream: see `Wrong`.
Compute compute(const Engine &engine, std::size_t rows, std::int64_t patches, std::size_t slot);

struct Inference {
    const void *input;
    void *output;
    std::size_t rows;
    // Of each row, where the input has them; 1 otherwise.
    std::int64_t patches;
    // Memory that it uses exclusively while it runs.
    std::optional<Range> memory;
};

// Enqueues an inference: enqueue.cpp for the stand-in for the driver, on_driver/ for a real one.
CUresult infer(CUstream stream, Engine &engine, const Inference &inference);

} // namespace stand_in
