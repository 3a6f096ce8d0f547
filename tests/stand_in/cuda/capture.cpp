#include "capture.hpp"

#include "stream.hpp"

#include <algorithm>

namespace stand_in {
namespace {

thread_local int thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

// All nodes that these come after, themselves included.
std::set<std::size_t> ancestors(const std::vector<Node> &nodes, const std::set<std::size_t> &of) {
    std::set<std::size_t> found;
    std::vector<std::size_t> open(of.begin(), of.end());
    while (!open.empty()) {
        std::size_t node = open.back();
        open.pop_back();
        if (found.insert(node).second) {
            open.insert(open.end(), nodes[node].after.begin(), nodes[node].after.end());
        }
    }
    return found;
}

// Branches of a graph run in any order; a launch here takes them one after the other, so
// two that race have to be found now.
void look_for_races(Driver &driver, const std::vector<Node> &nodes) {
    for (std::size_t second = 0; second < nodes.size(); ++second) {
        std::set<std::size_t> before = ancestors(nodes, nodes[second].after);
        for (std::size_t first = 0; first < second; ++first) {
            if (before.count(first)) {
                continue;
            }
            for (const Range &a : nodes[first].work.ranges) {
                for (const Range &b : nodes[second].work.ranges) {
                    if ((a.writes || b.writes) && a.overlaps(b)) {
                        driver.trace.add(Record("race")
                                             .put("first_kind", nodes[first].work.kind)
                                             .put("first_label", nodes[first].work.label)
                                             .put("second_kind", nodes[second].work.kind)
                                             .put("second_label", nodes[second].work.label)
                                             .put("in", "graph"));
                    }
                }
            }
        }
    }
}

void append(Capture &capture, Stream &stream, Work work) {
    std::set<std::size_t> &frontier = capture.frontiers[&stream];
    capture.nodes.push_back({std::move(work), frontier});
    frontier = {capture.nodes.size() - 1};
}

// Takes a capture and all its streams apart.
void dissolve(Driver &driver, const std::shared_ptr<Capture> &capture) {
    for (auto &[stream, frontier] : capture->frontiers) {
        stream->capture = nullptr;
    }
    auto &all = driver.captures;
    all.erase(std::remove(all.begin(), all.end(), capture), all.end());
}

CUresult launch(Driver &driver, GraphExec &exec, const std::shared_ptr<Stream> &stream) {
    if (stream->capture) {
        for (const Node &node : exec.nodes) {
            if (CUresult result = capture_work(*stream, node.work)) {
                return result;
            }
        }
        return CUDA_SUCCESS;
    }
    std::uint64_t number = ++driver.graph_launches;
    for (const Node &node : exec.nodes) {
        // One executable graph runs once at a time.
        Extra extra;
        if (exec.last) {
            extra.after.push_back(exec.last);
        }
        extra.graph_launch = number;
        std::shared_ptr<Operation> operation;
        extra.out = &operation;
        if (CUresult result = submit(driver, stream, node.work, extra)) {
            return result;
        }
        exec.last = operation;
    }
    return CUDA_SUCCESS;
}

CUresult instantiate(Driver &driver, CUgraphExec *exec, CUgraph handle) {
    std::shared_ptr<Graph> graph = driver.graphs.find(handle);
    if (!graph || !exec) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (CUresult due = driver.faults.due("graph")) {
        return due;
    }
    auto made = std::make_shared<GraphExec>();
    made->context = current_context;
    made->nodes = graph->nodes;
    *exec = driver.graph_execs.add(made);
    return CUDA_SUCCESS;
}

} // namespace

CUresult capture_work(Stream &stream, Work work) {
    if (stream.capture->invalidated) {
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    append(*stream.capture, stream, std::move(work));
    return CUDA_SUCCESS;
}

CUresult touches_captured(Driver &driver, const Stream &stream) {
    CUresult result = CUDA_SUCCESS;
    for (const auto &capture : driver.captures) {
        for (const auto &[captured, frontier] : capture->frontiers) {
            if (stream.legacy && captured->blocking && captured->context == stream.context) {
                capture->invalidated = true;
                result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            }
        }
    }
    return result;
}

CUresult forbidden_by_captures(Driver &driver) {
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) {
        return CUDA_SUCCESS;
    }
    CUresult result = CUDA_SUCCESS;
    for (const auto &capture : driver.captures) {
        bool own = capture->thread == std::this_thread::get_id() &&
                   capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
        bool any = thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                   capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (own || any) {
            capture->invalidated = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    return result;
}

} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
    std::swap(*mode, thread_mode);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
    return call("cuStreamBeginCapture_v2", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (stream->legacy) {
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        if (stream->capture) {
            return CUDA_ERROR_ILLEGAL_STATE;
        }
        auto capture = std::make_shared<Capture>();
        capture->origin = stream;
        capture->thread = std::this_thread::get_id();
        capture->mode = mode;
        capture->frontiers[stream.get()] = {};
        stream->capture = capture;
        driver.captures.push_back(capture);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
    return call("cuStreamEndCapture", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        std::shared_ptr<Capture> capture = stream->capture;
        if (!capture) {
            return CUDA_ERROR_ILLEGAL_STATE;
        }
        if (capture->origin != stream) {
            return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
        }
        if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
            capture->thread != std::this_thread::get_id()) {
            return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
        }
        *graph = nullptr;
        std::set<std::size_t> joined = ancestors(capture->nodes, capture->frontiers[stream.get()]);
        dissolve(driver, capture);
        if (capture->invalidated) {
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
        if (joined.size() != capture->nodes.size()) {
            return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        }
        look_for_races(driver, capture->nodes);
        auto made = std::make_shared<Graph>();
        made->nodes = std::move(capture->nodes);
        *graph = driver.graphs.add(made);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuStreamIsCapturing(CUstream handle, int *status) {
    return call("cuStreamIsCapturing", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        *status = !stream->capture               ? CU_STREAM_CAPTURE_STATUS_NONE
                  : stream->capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                 : CU_STREAM_CAPTURE_STATUS_ACTIVE;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph,
                                              unsigned long long) {
    return call("cuGraphInstantiateWithFlags", Needs::context,
                [&](Driver &driver, Lock &) { return instantiate(driver, exec, graph); });
}

CUDA_API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    return call("cuGraphUpload", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        bool known = driver.graph_execs.find(exec) && stream_of(driver, stream);
        return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    });
}

CUDA_API CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    return call("cuGraphLaunch", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<GraphExec> exec = driver.graph_execs.find(handle);
        std::shared_ptr<Stream> stream = stream_of(driver, stream_handle);
        if (!exec || !stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        for (const char *kind : {"enqueue", "graph_launch"}) {
            if (CUresult due = driver.faults.due(kind)) {
                return due;
            }
        }
        return launch(driver, *exec, stream);
    });
}

CUDA_API CUresult cuGraphGetNodes(CUgraph handle, void **nodes, std::size_t *count) {
    return call("cuGraphGetNodes", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Graph> graph = driver.graphs.find(handle);
        if (!graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        for (std::size_t i = 0; nodes && i < std::min(*count, graph->nodes.size()); ++i) {
            nodes[i] = &graph->nodes[i];
        }
        *count = graph->nodes.size();
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuGraphDestroy(CUgraph handle) {
    return call("cuGraphDestroy", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        if (!driver.graphs.find(handle)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.graphs.remove(handle);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuGraphExecDestroy(CUgraphExec handle) {
    return call("cuGraphExecDestroy", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<GraphExec> exec = driver.graph_execs.find(handle);
        if (!exec) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.graph_execs.remove(handle);
        return exec->context->device->broken;
    });
}
