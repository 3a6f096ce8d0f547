// TensorRT's stand-in on a real CUDA driver: for a GPU that TensorRT has no engines for, or a
// machine without TensorRT. Copies, resize kernel, streams, events and graphs are then the
// device's own, and only the towers are not.
//
//     input --copy--> pinned memory --host function: the engine's function--> --copy--> output
//
// All three are stream operations, so they can be captured and run after whatever was enqueued
// before them. Each output buffer has pinned memory of its own; only one stream uses it at a time.

#include "../cuda/faults.hpp"
#include "../tensorrt/inference.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

namespace stand_in {
namespace {

struct Pinned {
    void *start = nullptr;
    std::size_t bytes = 0;
};

// The argument of a host function. It is never freed, because a graph may call the function again.
struct Job {
    Compute run;
    const void *input;
    void *output;
};

struct State {
    // Faults have their own lock: a host function looks them up, and must not block on a thread
    // that is waiting for the device.
    std::mutex faults_lock;
    Faults faults;
    std::mutex lock;
    // Pinned input and output, by the address of the output buffer.
    std::map<const void *, std::pair<Pinned, Pinned>> staging;
    std::map<std::tuple<const void *, const void *, std::size_t, std::int64_t>, std::unique_ptr<Job>>
        jobs;
};

State &state() {
    static State *one = [] {
        auto *made = new State;
        const char *faults = std::getenv("STAND_IN_FAULT");
        if (faults && *faults) {
            try {
                made->faults.set(faults);
            } catch (const std::exception &error) {
                std::fprintf(stderr, "stand-in: STAND_IN_FAULT: %s\n", error.what());
                std::abort();
            }
        }
        return made;
    }();
    return *one;
}

// Never called during a capture: every batch size has run before it is captured.
CUresult grow(Pinned &pinned, std::size_t bytes) {
    if (pinned.bytes >= bytes) {
        return CUDA_SUCCESS;
    }
    void *larger = nullptr;
    if (CUresult result = cuMemHostAlloc(&larger, bytes, CU_MEMHOSTALLOC_PORTABLE)) {
        return result;
    }
    // The smaller block may still be in use, so it is not freed.
    pinned = {larger, bytes};
    return CUDA_SUCCESS;
}

// Breaks the context as a device error would, with a kernel that traps. The driver compiles it.
CUresult trap(CUstream stream) {
    static const char *text = ".version 7.0\n.target sm_75\n.address_size 64\n"
                              ".visible .entry stand_in_trap()\n{\n  trap;\n}\n";
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    CUresult result = cuModuleLoadData(&module, text);
    if (result == CUDA_SUCCESS) {
        result = cuModuleGetFunction(&function, module, "stand_in_trap");
    }
    if (result == CUDA_SUCCESS) {
        result = cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr);
    }
    return result;
}

void call(void *argument) {
    auto *job = static_cast<Job *>(argument);
    job->run(job->input, job->output);
}

} // namespace

CUresult infer(CUstream stream, Engine &engine, const Inference &inference) {
    if (fault("sticky") != CUDA_SUCCESS) {
        return trap(stream);
    }
    std::size_t rows = inference.rows;
    std::int64_t patches = inference.patches;
    std::size_t in_bytes = rows * engine.file().input.row_bytes(patches);
    std::size_t out_bytes = rows * engine.file().output.row_bytes();
    Job *job = nullptr;
    {
        std::lock_guard guard(state().lock);
        auto &[in, out] = state().staging[inference.output];
        CUresult result = grow(in, in_bytes);
        if (result == CUDA_SUCCESS) {
            result = grow(out, out_bytes);
        }
        if (result != CUDA_SUCCESS) {
            return result;
        }
        auto &kept = state().jobs[{inference.input, inference.output, rows, patches}];
        if (!kept || kept->input != in.start || kept->output != out.start) {
            // A graph may hold the old job, so it is leaked.
            kept.release();
            kept.reset(new Job{compute(engine, rows, patches, engine.slot_of(stream)), in.start,
                               out.start});
        }
        job = kept.get();
    }
    auto from = reinterpret_cast<CUdeviceptr>(inference.input);
    auto to = reinterpret_cast<CUdeviceptr>(inference.output);
    CUresult result = cuMemcpyDtoHAsync_v2(const_cast<void *>(job->input), from, in_bytes, stream);
    if (result == CUDA_SUCCESS) {
        result = cuLaunchHostFunc(stream, call, job);
    }
    if (result == CUDA_SUCCESS) {
        result = cuMemcpyHtoDAsync_v2(to, job->output, out_bytes, stream);
    }
    return result;
}

// The only other work is setting a profile, which does nothing here.
CUresult enqueue(CUstream, Work) { return CUDA_SUCCESS; }

CUresult fault(const char *kind) {
    std::lock_guard guard(state().faults_lock);
    return state().faults.due(kind);
}

void misuse(const std::string &text) { std::fprintf(stderr, "stand-in: misuse: %s\n", text.c_str()); }

void living(const char *, int) {}

} // namespace stand_in
