// Stream capture and graphs.

#include "check.hpp"

#include <thread>

struct Captured {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers(), b = device_numbers();
    CUgraph graph = nullptr;

    void begin(int mode = CU_STREAM_CAPTURE_MODE_GLOBAL) { OK(cuStreamBeginCapture_v2(s, mode)); }
    CUresult end() { return cuStreamEndCapture(s, &graph); }
};

CASE(a_graph_runs_when_it_is_launched) {
    Captured captured;
    unsigned *pinned = pinned_numbers();
    *pinned = 1;
    OK(cuMemsetD8_v2(captured.b, 0, 4));
    captured.begin();
    OK(cuMemcpyHtoDAsync_v2(captured.a, pinned, 4, captured.s));
    OK(cuMemcpyDtoDAsync_v2(captured.b, captured.a, 4, captured.s));
    OK(captured.end());
    EQUAL(number_at(captured.b), 0u);
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, captured.graph, 0));
    OK(cuGraphDestroy(captured.graph));
    for (unsigned number : {3u, 4u}) {
        *pinned = number;
        OK(cuGraphLaunch(exec, captured.s));
        EQUAL(number_at(captured.b), number);
    }
    OK(cuGraphExecDestroy(exec));
    EQUAL(leaks("graph") + leaks("executable graph"), 0);
    EQUAL(traced("\"race\""), 0);
}

// Two streams may launch one graph: it runs once at a time. What else they do is not ordered.
CASE(launches_of_a_graph_are_in_order) {
    Captured captured;
    captured.begin();
    OK(cuMemsetD32Async(captured.a, 1, 1, captured.s));
    OK(captured.end());
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, captured.graph, 0));
    CUstream t = stream();
    OK(cuGraphLaunch(exec, captured.s));
    OK(cuGraphLaunch(exec, t));
    EQUAL(cuMemsetD32Async(captured.a, 2, 1, captured.s), CUDA_ERROR_LAUNCH_FAILED);
}

CASE(a_second_stream_joins_the_capture) {
    Captured captured;
    CUstream t = stream();
    CUevent fork = event(), join = event();
    captured.begin();
    OK(cuEventRecord(fork, captured.s));
    OK(cuStreamWaitEvent(t, fork, 0));
    OK(cuMemsetD32Async(captured.a, 3, 1, t));
    OK(cuEventRecord(join, t));
    OK(cuStreamWaitEvent(captured.s, join, 0));
    OK(cuMemcpyDtoDAsync_v2(captured.b, captured.a, 4, captured.s));
    OK(captured.end());
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, captured.graph, 0));
    OK(cuGraphLaunch(exec, captured.s));
    EQUAL(number_at(captured.b), 3u);
    EQUAL(traced("\"race\""), 0);
}

CASE(a_branch_that_is_not_joined) {
    Captured captured;
    CUstream t = stream();
    CUevent fork = event();
    captured.begin();
    OK(cuEventRecord(fork, captured.s));
    OK(cuStreamWaitEvent(t, fork, 0));
    OK(cuMemsetD32Async(captured.a, 3, 1, t));
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
}

CASE(branches_of_a_graph_race) {
    Captured captured;
    CUstream t = stream();
    CUevent fork = event(), join = event();
    captured.begin();
    OK(cuEventRecord(fork, captured.s));
    OK(cuStreamWaitEvent(t, fork, 0));
    OK(cuMemsetD32Async(captured.a, 3, 1, t));
    OK(cuMemcpyDtoDAsync_v2(captured.b, captured.a, 4, captured.s));
    OK(cuEventRecord(join, t));
    OK(cuStreamWaitEvent(captured.s, join, 0));
    OK(captured.end());
    EQUAL(traced("\"in\":\"graph\""), 1);
}

// Allocating, waiting and asking are forbidden, in any thread while a capture is global.
CASE(captures_forbid_waits) {
    Captured captured;
    CUevent e = event();
    CUdeviceptr more;
    CUstream other = stream();
    captured.begin();
    EQUAL(cuMemAlloc_v2(&more, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    captured.begin();
    EQUAL(cuStreamSynchronize(captured.s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    auto elsewhere = [&] {
        CUresult result = CUDA_SUCCESS;
        std::thread([&] {
            Gpu same;
            result = cuEventSynchronize(e);
        }).join();
        return result;
    };
    captured.begin();
    EQUAL(elsewhere(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    captured.begin(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    OK(elsewhere());
    EQUAL(cuStreamQuery(other), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    captured.begin(CU_STREAM_CAPTURE_MODE_RELAXED);
    OK(cuMemAlloc_v2(&more, 4));
    OK(captured.end());
}

CASE(the_null_stream_and_a_capture) {
    Captured captured;
    captured.s = stream(0);
    captured.begin(CU_STREAM_CAPTURE_MODE_RELAXED);
    EQUAL(cuMemcpyDtoDAsync_v2(captured.b, captured.a, 4, nullptr),
          CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    EQUAL(captured.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}
