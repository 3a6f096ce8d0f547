// Calls that create streams, wait for them, and run host functions in them.

#include "capture.hpp"
#include "stream.hpp"

#include <algorithm>

using namespace stand_in;

namespace {

// Runs a body with a stream whose progress may be queried, which is forbidden during a capture.
template <typename Body> CUresult ask(const char *name, CUstream handle, Body body) {
    return call(name, Needs::context, [&](Driver &driver, Lock &lock) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (stream->capture) {
            stream->capture->invalidated = true;
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        if (CUresult result = forbidden_by_captures(driver)) {
            return result;
        }
        return body(*stream, driver, lock);
    });
}

} // namespace

CUDA_API CUresult cuStreamCreateWithPriority(CUstream *handle, unsigned flags, int priority) {
    return call("cuStreamCreateWithPriority", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        if (!handle || flags > CU_STREAM_NON_BLOCKING) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (CUresult due = driver.faults.due("stream")) {
            return due;
        }
        *handle = driver.streams.add(open_stream(driver, *current_context, flags, priority));
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuStreamCreate(CUstream *handle, unsigned flags) {
    return cuStreamCreateWithPriority(handle, flags, 0);
}

CUDA_API CUresult cuStreamDestroy_v2(CUstream handle) {
    return call("cuStreamDestroy_v2", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = driver.streams.find(handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (stream->capture) {
            stream->capture->invalidated = true;
            stream->capture->frontiers.erase(stream.get());
        }
        // Work that is in it still runs.
        close_stream(driver, *stream);
        driver.streams.remove(handle);
        return stream->context->device->broken;
    });
}

CUDA_API CUresult cuStreamSynchronize(CUstream handle) {
    return ask("cuStreamSynchronize", handle, [](Stream &stream, Driver &driver, Lock &lock) {
        return wait_for(driver, lock, stream.last);
    });
}

CUDA_API CUresult cuStreamQuery(CUstream handle) {
    return ask("cuStreamQuery", handle, [](Stream &stream, Driver &driver, Lock &lock) -> CUresult {
        if (stream.last && !stream.last->done) {
            return CUDA_ERROR_NOT_READY;
        }
        return wait_for(driver, lock, stream.last);
    });
}

CUDA_API CUresult cuStreamGetPriority(CUstream handle, int *priority) {
    return call("cuStreamGetPriority", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        *priority = stream->priority;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuStreamGetFlags(CUstream handle, unsigned *flags) {
    return call("cuStreamGetFlags", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        *flags = stream->blocking ? 0u : unsigned{CU_STREAM_NON_BLOCKING};
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuStreamGetCtx(CUstream handle, CUcontext *context) {
    return call("cuStreamGetCtx", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        *context = reinterpret_cast<CUcontext>(stream->context);
        return CUDA_SUCCESS;
    });
}

// A host function in stream order. It is not called if the device has broken.
CUDA_API CUresult cuLaunchHostFunc(CUstream handle, void (*function)(void *), void *argument) {
    return call("cuLaunchHostFunc", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (CUresult due = driver.faults.due("enqueue")) {
            return due;
        }
        Work work;
        work.kind = "host";
        work.act = [=]() -> CUresult {
            function(argument);
            return CUDA_SUCCESS;
        };
        return submit(driver, stream, std::move(work));
    });
}
