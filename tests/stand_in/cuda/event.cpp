// Events: marks in a stream that other streams and the host wait for.

#include "capture.hpp"
#include "stream.hpp"

using namespace stand_in;

namespace {

CUresult record(Driver &driver, Event &event, const std::shared_ptr<Stream> &stream) {
    if (CUresult due = driver.faults.due("enqueue")) {
        return due;
    }
    event.recorded = nullptr;
    event.capture.reset();
    if (stream->capture) {
        if (stream->capture->invalidated) {
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
        event.capture = stream->capture;
        event.captured_after = stream->capture->frontiers[stream.get()];
        return CUDA_SUCCESS;
    }
    Work work;
    work.kind = "record";
    Extra extra;
    extra.out = &event.recorded;
    return submit(driver, stream, std::move(work), extra);
}

// A wait between captures, or between a capture and what is not captured.
CUresult wait_captured(Driver &, const std::shared_ptr<Capture> &capture,
                       const std::set<std::size_t> &after, const std::shared_ptr<Stream> &stream) {
    if (stream->capture && stream->capture != capture) {
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (stream->legacy) {
        capture->invalidated = true;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    // A stream that waits for a captured one is captured with it from here on.
    stream->capture = capture;
    capture->frontiers[stream.get()].insert(after.begin(), after.end());
    return CUDA_SUCCESS;
}

CUresult wait(Driver &driver, const Event &event, const std::shared_ptr<Stream> &stream) {
    if (CUresult due = driver.faults.due("enqueue")) {
        return due;
    }
    if (std::shared_ptr<Capture> capture = event.capture.lock()) {
        return wait_captured(driver, capture, event.captured_after, stream);
    }
    if (!event.recorded) {
        return CUDA_SUCCESS;
    }
    if (stream->capture) {
        stream->capture->invalidated = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    Work work;
    work.kind = "wait";
    Extra extra;
    extra.after = {event.recorded};
    return submit(driver, stream, std::move(work), extra);
}

// Runs a body with an event that the host asks about, which captures forbid.
template <typename Body> CUresult ask(const char *name, CUevent handle, Body body) {
    return call(name, Needs::context, [&](Driver &driver, Lock &lock) -> CUresult {
        std::shared_ptr<Event> event = driver.events.find(handle);
        if (!event) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (std::shared_ptr<Capture> capture = event->capture.lock()) {
            capture->invalidated = true;
            return CUDA_ERROR_CAPTURED_EVENT;
        }
        if (CUresult result = forbidden_by_captures(driver)) {
            return result;
        }
        // Another thread may record it anew meanwhile.
        std::shared_ptr<Operation> recorded = event->recorded;
        return body(recorded, driver, lock);
    });
}

} // namespace

CUDA_API CUresult cuEventCreate(CUevent *handle, unsigned flags) {
    return call("cuEventCreate", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        if (!handle || flags > (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (CUresult due = driver.faults.due("event")) {
            return due;
        }
        auto event = std::make_shared<Event>();
        event->flags = flags;
        event->context = current_context;
        *handle = driver.events.add(event);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuEventDestroy_v2(CUevent handle) {
    return call("cuEventDestroy_v2", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Event> event = driver.events.find(handle);
        if (!event) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        driver.events.remove(handle);
        return event->context->device->broken;
    });
}

CUDA_API CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned) {
    return call("cuEventRecord", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Event> event = driver.events.find(handle);
        std::shared_ptr<Stream> stream = stream_of(driver, stream_handle);
        if (!event || !stream || event->context != stream->context) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        return record(driver, *event, stream);
    });
}

CUDA_API CUresult cuEventRecord(CUevent event, CUstream stream) {
    return cuEventRecordWithFlags(event, stream, 0);
}

CUDA_API CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned) {
    return call("cuStreamWaitEvent", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Event> event = driver.events.find(handle);
        std::shared_ptr<Stream> stream = stream_of(driver, stream_handle);
        if (!event || !stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        return wait(driver, *event, stream);
    });
}

CUDA_API CUresult cuEventSynchronize(CUevent handle) {
    return ask("cuEventSynchronize", handle,
               [](const std::shared_ptr<Operation> &recorded, Driver &driver, Lock &lock) {
                   return wait_for(driver, lock, recorded);
               });
}

CUDA_API CUresult cuEventQuery(CUevent handle) {
    return ask("cuEventQuery", handle,
               [](const std::shared_ptr<Operation> &recorded, Driver &driver,
                  Lock &lock) -> CUresult {
                   if (recorded && !recorded->done) {
                       return CUDA_ERROR_NOT_READY;
                   }
                   return wait_for(driver, lock, recorded);
               });
}

CUDA_API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent from, CUevent to) {
    return call("cuEventElapsedTime", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Event> first = driver.events.find(from);
        std::shared_ptr<Event> second = driver.events.find(to);
        if (!first || !second || !first->recorded || !second->recorded ||
            ((first->flags | second->flags) & CU_EVENT_DISABLE_TIMING)) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (!first->recorded->done || !second->recorded->done) {
            return CUDA_ERROR_NOT_READY;
        }
        auto begin = static_cast<double>(first->recorded->end);
        auto end = static_cast<double>(second->recorded->end);
        *milliseconds = static_cast<float>((end - begin) / 1e6);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to) {
    return cuEventElapsedTime_v2(milliseconds, from, to);
}
