// An inference as one work of the stand-in for the driver, whose device memory is the host's.

#include "inference.hpp"

namespace stand_in {

CUresult infer(CUstream stream, Engine &engine, const Inference &inference) {
    auto [input, output, rows, patches, memory] = inference;
    auto from = reinterpret_cast<std::uintptr_t>(input);
    auto to = reinterpret_cast<std::uintptr_t>(output);

    Work work;
    work.kind = "infer";
    work.label = engine.getName();
    work.rows = rows;
    work.bytes = rows * engine.file().input.row_bytes(patches);
    work.ranges = {{from, from + work.bytes, false},
                   {to, to + rows * engine.file().output.row_bytes(), true}};
    if (engine.weights().begin != 0) {
        work.ranges.push_back(engine.weights());
    }
    if (memory) {
        work.ranges.push_back(*memory);
    }
    work.act = [=, run = compute(engine, rows, patches, engine.slot_of(stream))]() -> CUresult {
        run(input, output);
        return CUDA_SUCCESS;
    };
    return enqueue(stream, std::move(work));
}

} // namespace stand_in
