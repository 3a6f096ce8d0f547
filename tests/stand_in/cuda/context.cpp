// Contexts: one primary context per device, created when it is first retained and destroyed when
// it has been released as often.

#include "stream.hpp"

#include <algorithm>

namespace stand_in {
namespace {

Device *device_at(Driver &driver, CUdevice ordinal) {
    bool known = ordinal >= 0 && static_cast<std::size_t>(ordinal) < driver.devices.size();
    return known ? driver.devices[static_cast<std::size_t>(ordinal)].get() : nullptr;
}

CUcontext handle_of(Context *context) { return reinterpret_cast<CUcontext>(context); }

// The context of a handle; null if there never was one.
Context *context_of(Driver &driver, CUcontext handle) {
    auto found = std::find_if(driver.contexts.begin(), driver.contexts.end(),
                              [&](const auto &context) { return handle_of(context.get()) == handle; });
    return found == driver.contexts.end() ? nullptr : found->get();
}

Context *make_primary(Driver &driver, Device &device) {
    driver.contexts.push_back(std::make_unique<Context>());
    Context *context = driver.contexts.back().get();
    context->device = &device;
    context->null_stream = open_stream(driver, *context, 0, 0);
    context->null_stream->legacy = true;
    return context;
}

// Everything in the context is destroyed with it, and reported as leaked.
void end_primary(Driver &driver, Device &device) {
    Context *context = device.primary;
    std::vector<CUstream> streams;
    for (const auto &[handle, stream] : driver.streams.all()) {
        if (stream->context == context) {
            streams.push_back(handle);
        }
    }
    std::size_t memory = 0;
    for (const auto &[begin, allocation] : driver.memory.living()) {
        memory += allocation.device == device.ordinal;
    }
    if (!streams.empty() || memory > 0) {
        driver.trace.add(Record("misuse").put(
            "text", "the primary context was released with " + std::to_string(memory) +
                        " allocations and " + std::to_string(streams.size()) + " streams in it"));
    }
    for (CUstream handle : streams) {
        close_stream(driver, *driver.streams.find(handle));
        driver.streams.remove(handle);
    }
    close_stream(driver, *context->null_stream);
    context->destroyed = true;
    device.primary = nullptr;
}

thread_local std::vector<Context *> stack;

} // namespace
} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice ordinal) {
    return call("cuDevicePrimaryCtxRetain", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        Device *device = device_at(driver, ordinal);
        if (!device) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        if (device->broken != CUDA_SUCCESS) {
            return device->broken;
        }
        if (!device->primary) {
            device->primary = make_primary(driver, *device);
        }
        ++device->retained;
        *context = handle_of(device->primary);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
    return call("cuDevicePrimaryCtxRelease_v2", Needs::init,
                [&](Driver &driver, Lock &lock) -> CUresult {
                    Device *device = device_at(driver, ordinal);
                    if (!device) {
                        return CUDA_ERROR_INVALID_DEVICE;
                    }
                    if (device->retained == 0) {
                        return CUDA_ERROR_INVALID_CONTEXT;
                    }
                    if (--device->retained == 0) {
                        wait_for_device(driver, lock, *device);
                        end_primary(driver, *device);
                    }
                    return CUDA_SUCCESS;
                });
}

CUDA_API CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned *flags, int *active) {
    return call("cuDevicePrimaryCtxGetState", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        Device *device = device_at(driver, ordinal);
        if (!device) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        *flags = 0;
        *active = device->primary != nullptr;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned) {
    return call("cuDevicePrimaryCtxSetFlags_v2", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        return device_at(driver, ordinal) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    });
}

CUDA_API CUresult cuCtxSetCurrent(CUcontext handle) {
    return call("cuCtxSetCurrent", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        Context *context = context_of(driver, handle);
        if (handle && !context) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        if (context && context->destroyed) {
            return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        }
        current_context = context;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxGetCurrent(CUcontext *context) {
    return call("cuCtxGetCurrent", Needs::init, [&](Driver &, Lock &) -> CUresult {
        *context = handle_of(current_context);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxPushCurrent_v2(CUcontext handle) {
    return call("cuCtxPushCurrent_v2", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        Context *context = context_of(driver, handle);
        if (!context || context->destroyed) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        stack.push_back(current_context);
        current_context = context;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    return call("cuCtxPopCurrent_v2", Needs::init, [&](Driver &, Lock &) -> CUresult {
        if (!current_context) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        if (context) {
            *context = handle_of(current_context);
        }
        current_context = stack.empty() ? nullptr : stack.back();
        if (!stack.empty()) {
            stack.pop_back();
        }
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxGetDevice(CUdevice *device) {
    return call("cuCtxGetDevice", Needs::context, [&](Driver &, Lock &) -> CUresult {
        *device = current_context->device->ordinal;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxSetFlags(unsigned) {
    return call("cuCtxSetFlags", Needs::context, [](Driver &, Lock &) { return CUDA_SUCCESS; });
}

CUDA_API CUresult cuCtxGetFlags(unsigned *flags) {
    *flags = 0;
    return call("cuCtxGetFlags", Needs::context, [](Driver &, Lock &) { return CUDA_SUCCESS; });
}

CUDA_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    return call("cuCtxGetStreamPriorityRange", Needs::context, [&](Driver &, Lock &) -> CUresult {
        *least = 0;
        *greatest = -5;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuCtxSynchronize() {
    return call("cuCtxSynchronize", Needs::context, [](Driver &driver, Lock &lock) -> CUresult {
        return synchronize_device(driver, lock, *current_context->device);
    });
}
