#include "stream.hpp"

#include "capture.hpp"
#include "spec.hpp"

#include <cstdio>

namespace stand_in {
namespace {

// Returns the error that faults or illegal ranges impose on a work, or success if it can run.
CUresult verdict(Driver &driver, Operation &operation) {
    Device &device = *operation.stream->context->device;
    if (device.broken != CUDA_SUCCESS) {
        return device.broken;
    }
    const Work &work = operation.work;
    if (!is_work_kind(work.kind)) {
        return CUDA_SUCCESS;
    }
    std::string objection = work.illegal;
    for (const Range &range : work.ranges) {
        if (objection.empty()) {
            objection = driver.memory.objection(range, device.ordinal);
        }
    }
    CUresult result = CUDA_SUCCESS;
    if (!objection.empty()) {
        driver.trace.add(Record("illegal_address")
                             .put("operation", operation.id)
                             .put("kind", work.kind)
                             .put("label", work.label)
                             .put("text", objection));
        result = CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    for (const char *kind : {"sticky", "lost"}) {
        for (const std::string &name : {std::string(kind), std::string(kind) + "@" + work.kind}) {
            if (CUresult due = driver.faults.due(name)) {
                result = due;
            }
        }
    }
    if (result != CUDA_SUCCESS) {
        driver.break_device(device, result);
    }
    return result;
}

// Blocks while a fault makes the work hang.
void hang(Driver &driver, Lock &lock, const Work &work) {
    bool hangs = false;
    for (const std::string &name : {std::string("hang"), std::string("hang@") + work.kind}) {
        hangs |= is_work_kind(work.kind) && driver.faults.due(name) != CUDA_SUCCESS;
    }
    if (hangs) {
        std::uint64_t seen = driver.releases;
        driver.changed.wait(lock, [&] { return driver.releases != seen; });
    }
}

std::string json(const Driver &driver, const std::vector<Range> &ranges) {
    std::string out = "[";
    for (const Range &range : ranges) {
        const Allocation *in = driver.memory.find(range.begin);
        out += out.size() > 1 ? ",{" : "{";
        if (in) {
            out += "\"allocation\":" + std::to_string(in->id) +
                   ",\"offset\":" + std::to_string(range.begin - in->begin) + ",";
        }
        out += "\"bytes\":" + std::to_string(range.end - range.begin) +
               ",\"writes\":" + (range.writes ? "true" : "false") + "}";
    }
    return out + "]";
}

Record record_of(const Driver &driver, const Operation &operation) {
    Record record("operation");
    record.put("id", operation.id)
        .put("device", operation.stream->context->device->ordinal)
        .put("stream", operation.stream->number)
        .put("kind", operation.work.kind)
        .put("label", operation.work.label)
        .put("bytes", operation.work.bytes)
        .put("rows", operation.work.rows)
        .put("graph_launch", operation.graph_launch)
        .put("enqueued", operation.enqueued)
        .put("begin", operation.begin)
        .put("end", operation.end)
        .put("result", operation.result);
    return record.raw("ranges", json(driver, operation.work.ranges));
}

void run(Driver &driver, Lock &lock, Operation &operation) {
    operation.begin = now();
    hang(driver, lock, operation.work);
    operation.result = verdict(driver, operation);
    if (operation.result == CUDA_SUCCESS && operation.work.act) {
        bool host = std::string(operation.work.kind) == "host";
        if (host) {
            // The function may let other threads of the program go on.
            observe(driver, operation.clock);
        }
        lock.unlock();
        std::this_thread::sleep_for(operation.delay);
        in_host_function = host;
        CUresult result = operation.work.act();
        in_host_function = false;
        lock.lock();
        if (result != CUDA_SUCCESS) {
            driver.break_device(*operation.stream->context->device, result);
            operation.result = result;
        }
    }
    operation.end = now();
    driver.trace.add(record_of(driver, operation));
}

void work_off(std::shared_ptr<Stream> stream) {
    Driver &all = driver();
    Lock lock(all.mutex);
    for (;;) {
        all.changed.wait(lock, [&] { return stream->closed || !stream->queue.empty(); });
        if (stream->queue.empty()) {
            all.running.erase(stream);
            return;
        }
        std::shared_ptr<Operation> operation = stream->queue.front();
        for (const auto &before : operation->after) {
            all.changed.wait(lock, [&] { return before->done; });
        }
        run(all, lock, *operation);
        stream->queue.pop_front();
        operation->done = true;
        // An event may keep the operation, but not what its work holds.
        operation->after.clear();
        operation->work = Work{};
        all.changed.notify_all();
    }
}

// Reports a race in the trace and, unless races are only reported, breaks the device.
CUresult look_for_races(Driver &driver, const Operation &operation) {
    std::optional<Race> race = driver.races.add(operation);
    if (!race) {
        return CUDA_SUCCESS;
    }
    driver.trace.add(Record("race")
                         .put("first", race->operation)
                         .put("first_kind", race->kind)
                         .put("first_label", race->label)
                         .put("first_stream", race->stream)
                         .put("second", operation.id)
                         .put("second_kind", operation.work.kind)
                         .put("second_label", operation.work.label)
                         .put("second_stream", operation.stream->number)
                         .raw("ranges", json(driver, {race->range})));
    std::fprintf(stderr, "stand-in: %s %s in stream %u and %s %s in stream %u use the same memory "
                 "and nothing orders them\n",
                 race->kind.c_str(), race->label.c_str(), race->stream, operation.work.kind,
                 operation.work.label.c_str(), operation.stream->number);
    if (!driver.race_breaks) {
        return CUDA_SUCCESS;
    }
    driver.break_device(*operation.stream->context->device, CUDA_ERROR_LAUNCH_FAILED);
    return CUDA_ERROR_LAUNCH_FAILED;
}

} // namespace

std::shared_ptr<Stream> open_stream(Driver &driver, Context &context, unsigned flags,
                                    int priority) {
    auto stream = std::make_shared<Stream>();
    stream->number = driver.stream_count++;
    stream->context = &context;
    stream->blocking = !(flags & CU_STREAM_NON_BLOCKING);
    stream->priority = priority;
    driver.running.insert(stream);
    std::thread(work_off, stream).detach();
    return stream;
}

void close_stream(Driver &driver, Stream &stream) {
    stream.closed = true;
    driver.changed.notify_all();
}

std::shared_ptr<Stream> stream_of(Driver &driver, CUstream handle) {
    const auto LEGACY = reinterpret_cast<CUstream>(1);
    if (handle == nullptr || handle == LEGACY) {
        return current_context->null_stream;
    }
    std::shared_ptr<Stream> stream = driver.streams.find(handle);
    return stream && stream->context == current_context ? stream : nullptr;
}

CUresult submit(Driver &driver, const std::shared_ptr<Stream> &stream, Work work, Extra extra) {
    if (stream->capture) {
        return capture_work(*stream, std::move(work));
    }
    if (CUresult result = touches_captured(driver, *stream)) {
        return result;
    }
    auto operation = std::make_shared<Operation>();
    operation->id = ++driver.operations;
    operation->delay = driver.delays.of(work);
    operation->work = std::move(work);
    operation->stream = stream;
    operation->sequence = ++stream->count;
    operation->graph_launch = extra.graph_launch;
    operation->after = std::move(extra.after);
    operation->enqueued = now();

    // The null stream waits for all blocking streams, and they wait for it.
    Context &context = *stream->context;
    if (stream->legacy) {
        for (const auto &[handle, other] : driver.streams.all()) {
            if (other->blocking && other->context == &context && other->last) {
                operation->after.push_back(other->last);
            }
        }
    } else if (stream->blocking && context.null_stream->last) {
        operation->after.push_back(context.null_stream->last);
    }

    stream->clock.join(driver.observed);
    for (const auto &before : operation->after) {
        stream->clock.join(before->clock);
    }
    stream->clock.set(stream->number, operation->sequence);
    operation->clock = stream->clock;

    if (CUresult result = look_for_races(driver, *operation)) {
        return result;
    }
    stream->queue.push_back(operation);
    stream->last = operation;
    if (extra.out) {
        *extra.out = operation;
    }
    driver.changed.notify_all();
    return CUDA_SUCCESS;
}

CUresult wait_for(Driver &driver, Lock &lock, const std::shared_ptr<Operation> &operation) {
    if (operation) {
        driver.changed.wait(lock, [&] { return operation->done; });
        observe(driver, operation->clock);
        return operation->stream->context->device->broken;
    }
    return CUDA_SUCCESS;
}

void observe(Driver &driver, const Clock &clock) {
    driver.observed.join(clock);
    driver.races.forget(driver.observed);
}

CUresult wait_for_device(Driver &driver, Lock &lock, const Device &device) {
    std::vector<std::shared_ptr<Operation>> last;
    for (const auto &stream : driver.running) {
        if (stream->context->device == &device && stream->last) {
            last.push_back(stream->last);
        }
    }
    for (const auto &operation : last) {
        wait_for(driver, lock, operation);
    }
    return device.broken;
}

CUresult synchronize_device(Driver &driver, Lock &lock, const Device &device) {
    if (CUresult result = forbidden_by_captures(driver)) {
        return result;
    }
    return wait_for_device(driver, lock, device);
}

bool in_use(const Driver &driver, const Range &range) {
    for (const auto &stream : driver.running) {
        for (const auto &operation : stream->queue) {
            for (const Range &used : operation->work.ranges) {
                if (used.overlaps(range)) {
                    return true;
                }
            }
        }
    }
    return false;
}

CUresult enqueue(CUstream handle, Work work) {
    return call("stand_in::enqueue", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (CUresult due = driver.faults.due("enqueue")) {
            return due;
        }
        return submit(driver, stream, std::move(work));
    });
}

} // namespace stand_in
