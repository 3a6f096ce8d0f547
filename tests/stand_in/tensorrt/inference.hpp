// One inference: the engine's function of each row, and how it comes into a stream.
#pragma once

#include "engine.hpp"

#include <optional>

namespace stand_in {

// What an inference of so many rows makes of an input and writes to an output, both of which
// the host can see. It takes with it what it needs of the engine.
using Compute = std::function<void(const void *input, void *output)>;

Compute compute(const Engine &engine, std::size_t rows);

struct Inference {
    const void *input;
    void *output;
    std::size_t rows;
    // What it has to itself while it runs.
    std::optional<Range> memory;
};

// Puts one into a stream: enqueue.cpp on the stand-in for the driver, on_driver/ on a real one.
CUresult infer(CUstream stream, const Engine &engine, const Inference &inference);

} // namespace stand_in
