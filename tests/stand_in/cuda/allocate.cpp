// Memory: device memory, pinned host memory, and what a pointer is.

#include "capture.hpp"
#include "stream.hpp"

namespace stand_in {
namespace {

CUresult allocate_device(Driver &driver, CUdeviceptr *address, std::size_t bytes) {
    if (!address || bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (CUresult due = driver.faults.due("alloc")) {
        return due;
    }
    Device &device = *current_context->device;
    if (bytes > device.total - device.used) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    const Allocation *made = driver.memory.allocate(Place::device, device.ordinal, bytes);
    if (!made) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    device.used += bytes;
    *address = made->begin;
    return CUDA_SUCCESS;
}

CUresult allocate_pinned(Driver &driver, void **address, std::size_t bytes) {
    if (!address || bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (CUresult result = forbidden_by_captures(driver)) {
        return result;
    }
    if (CUresult due = driver.faults.due("host_alloc")) {
        return due;
    }
    const Allocation *made =
        driver.memory.allocate(Place::pinned, current_context->device->ordinal, bytes);
    if (!made) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *address = reinterpret_cast<void *>(made->begin);
    return CUDA_SUCCESS;
}

void release(Driver &driver, const Allocation &allocation) {
    if (allocation.place == Place::device) {
        driver.devices[static_cast<std::size_t>(allocation.device)]->used -= allocation.bytes;
    }
    driver.memory.release(allocation.begin);
}

// Frees memory as the driver does, which first waits for the device. A program that relies on this
// wait is reported in the trace: it should know when it is done with its memory.
CUresult give_back(Driver &driver, Lock &lock, std::uintptr_t begin, Place place, bool owned) {
    const Allocation *found = driver.memory.exact(begin);
    if (!found || found->place != place || found->owned != owned) {
        return owned ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    }
    if (CUresult result = forbidden_by_captures(driver)) {
        return result;
    }
    if (in_use(driver, found->all())) {
        driver.trace.add(Record("misuse").put("text", "allocation " + std::to_string(found->id) +
                                                          " was given back while it was in use"));
    }
    CUresult result = wait_for_device(driver, lock, *current_context->device);
    // Another thread may have freed it in the meantime.
    if (const Allocation *still = driver.memory.exact(begin)) {
        release(driver, *still);
    }
    return result;
}

// Memory is freed even if the device has broken, so that the list of leaks stays correct.
CUresult with_broken(Driver &driver, std::uintptr_t begin, CUresult broken) {
    if (const Allocation *found = driver.memory.exact(begin)) {
        if (driver.devices[static_cast<std::size_t>(found->device)]->broken != CUDA_SUCCESS) {
            release(driver, *found);
        }
    }
    return broken;
}

CUresult free_call(const char *name, std::uintptr_t begin, Place place, bool owned) {
    return call(name, Needs::init, [&](Driver &driver, Lock &lock) -> CUresult {
        if (CUresult result = may_run(driver, Needs::context)) {
            return with_broken(driver, begin, result);
        }
        return give_back(driver, lock, begin, place, owned);
    });
}

CUresult describe(const Driver &driver, void *out, int which, CUdeviceptr address) {
    const Allocation *found = driver.memory.find(address);
    if (!found) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    bool on_device = found->place == Place::device;
    switch (which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *static_cast<Context **>(out) =
            driver.devices[static_cast<std::size_t>(found->device)]->primary;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *static_cast<unsigned *>(out) = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *static_cast<CUdeviceptr *>(out) = address;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *static_cast<CUdeviceptr *>(out) = address;
        return on_device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *static_cast<bool *>(out) = false;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int *>(out) = found->device;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *static_cast<CUdeviceptr *>(out) = found->begin;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *static_cast<std::size_t *>(out) = found->bytes;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

} // namespace
} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuMemAlloc_v2(CUdeviceptr *address, std::size_t bytes) {
    return call("cuMemAlloc_v2", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        if (CUresult result = forbidden_by_captures(driver)) {
            return result;
        }
        return allocate_device(driver, address, bytes);
    });
}

CUDA_API CUresult cuMemFree_v2(CUdeviceptr address) {
    return address == 0 ? CUDA_SUCCESS : free_call("cuMemFree_v2", address, Place::device, true);
}

// Stream-ordered allocation: memory is available at once, and freed in stream order.
CUDA_API CUresult cuMemAllocAsync(CUdeviceptr *address, std::size_t bytes, CUstream handle) {
    return call("cuMemAllocAsync", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        return stream->capture ? CUDA_ERROR_NOT_SUPPORTED : allocate_device(driver, address, bytes);
    });
}

CUDA_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    return call("cuMemFreeAsync", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        const Allocation *found = driver.memory.exact(address);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (!found || found->place != Place::device) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (stream->capture) {
            return CUDA_ERROR_NOT_SUPPORTED;
        }
        Work work;
        work.kind = "free";
        work.bytes = found->bytes;
        work.ranges = {found->all()};
        work.act = [address]() -> CUresult {
            Driver &all = stand_in::driver();
            Lock lock(all.mutex);
            if (const Allocation *still = all.memory.exact(address)) {
                release(all, *still);
            }
            return CUDA_SUCCESS;
        };
        return submit(driver, stream, std::move(work));
    });
}

CUDA_API CUresult cuMemHostAlloc(void **address, std::size_t bytes, unsigned) {
    return call("cuMemHostAlloc", Needs::context,
                [&](Driver &driver, Lock &) { return allocate_pinned(driver, address, bytes); });
}

CUDA_API CUresult cuMemAllocHost_v2(void **address, std::size_t bytes) {
    return cuMemHostAlloc(address, bytes, 0);
}

CUDA_API CUresult cuMemFreeHost(void *address) {
    return free_call("cuMemFreeHost", reinterpret_cast<std::uintptr_t>(address), Place::pinned, true);
}

CUDA_API CUresult cuMemHostRegister_v2(void *address, std::size_t bytes, unsigned) {
    return call("cuMemHostRegister_v2", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        auto begin = reinterpret_cast<std::uintptr_t>(address);
        if (!address || bytes == 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (driver.memory.given({begin, begin + bytes, false})) {
            return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
        }
        driver.memory.register_pinned(current_context->device->ordinal, begin, bytes);
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuMemHostUnregister(void *address) {
    return free_call("cuMemHostUnregister", reinterpret_cast<std::uintptr_t>(address), Place::pinned,
                     false);
}

CUDA_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *device, void *host, unsigned) {
    return call("cuMemHostGetDevicePointer_v2", Needs::context,
                [&](Driver &driver, Lock &) -> CUresult {
                    auto address = reinterpret_cast<std::uintptr_t>(host);
                    const Allocation *found = driver.memory.find(address);
                    if (!found || found->place != Place::pinned) {
                        return CUDA_ERROR_INVALID_VALUE;
                    }
                    *device = address;
                    return CUDA_SUCCESS;
                });
}

CUDA_API CUresult cuMemHostGetFlags(unsigned *flags, void *host) {
    return call("cuMemHostGetFlags", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        const Allocation *found = driver.memory.find(reinterpret_cast<std::uintptr_t>(host));
        if (!found || found->place != Place::pinned) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        *flags = CU_MEMHOSTALLOC_DEVICEMAP;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    return call("cuMemGetInfo_v2", Needs::context, [&](Driver &, Lock &) -> CUresult {
        const Device &device = *current_context->device;
        *free = device.total - device.used;
        *total = device.total;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, std::size_t *bytes,
                                          CUdeviceptr address) {
    return call("cuMemGetAddressRange_v2", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        const Allocation *found = driver.memory.find(address);
        if (!found) {
            return CUDA_ERROR_NOT_FOUND;
        }
        if (base) {
            *base = found->begin;
        }
        if (bytes) {
            *bytes = found->bytes;
        }
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuPointerGetAttribute(void *out, int which, CUdeviceptr address) {
    return call("cuPointerGetAttribute", Needs::init,
                [&](Driver &driver, Lock &) { return describe(driver, out, which, address); });
}
