// Copies and fills.
//
// An asynchronous copy from pinned memory reads it when the copy runs, as hardware does; other
// host memory is read during the call. A copy to pinned memory writes when it runs; with other
// host memory as the target, the call blocks until then.

#include "capture.hpp"
#include "stream.hpp"

#include <cstring>

namespace stand_in {
namespace {

Range range(std::uintptr_t begin, std::size_t bytes, bool writes) {
    return {begin, begin + bytes, writes};
}

void *pointer(std::uintptr_t address) { return reinterpret_cast<void *>(address); }

// Whether host memory is pinned. If it is device memory, which is an error, the work is marked
// illegal.
bool is_pinned(const Driver &driver, std::uintptr_t address, std::size_t bytes, Work &work) {
    const Allocation *found = driver.memory.find(address);
    if (found && found->place == Place::device) {
        work.illegal = "allocation " + std::to_string(found->id) +
                       " lies on a device and was given as host memory";
        return false;
    }
    if (!found && driver.memory.given(range(address, bytes, false))) {
        work.illegal = "pinned memory was freed, or the copy runs into other memory of the driver's";
    }
    return found != nullptr;
}

Work upload(const Driver &driver, CUdeviceptr to, std::uintptr_t from, std::size_t bytes,
            bool captured) {
    Work work;
    work.kind = "upload";
    work.bytes = bytes;
    work.ranges = {range(to, bytes, true)};
    bool pinned = is_pinned(driver, from, bytes, work);
    if (pinned) {
        work.ranges.push_back(range(from, bytes, false));
        work.label = "pinned";
    } else {
        work.label = "pageable";
    }
    if (pinned || captured) {
        work.act = [=]() -> CUresult {
            std::memcpy(pointer(to), pointer(from), bytes);
            return CUDA_SUCCESS;
        };
    } else if (work.illegal.empty()) {
        auto staged = std::make_shared<std::vector<char>>(bytes);
        std::memcpy(staged->data(), pointer(from), bytes);
        work.act = [=]() -> CUresult {
            std::memcpy(pointer(to), staged->data(), bytes);
            return CUDA_SUCCESS;
        };
    }
    return work;
}

Work download(const Driver &driver, std::uintptr_t to, CUdeviceptr from, std::size_t bytes) {
    Work work;
    work.kind = "download";
    work.bytes = bytes;
    work.ranges = {range(from, bytes, false)};
    if (is_pinned(driver, to, bytes, work)) {
        work.ranges.push_back(range(to, bytes, true));
        work.label = "pinned";
    } else {
        work.label = "pageable";
    }
    work.act = [=]() -> CUresult {
        std::memcpy(pointer(to), pointer(from), bytes);
        return CUDA_SUCCESS;
    };
    return work;
}

Work copy(CUdeviceptr to, CUdeviceptr from, std::size_t bytes) {
    Work work;
    work.kind = "copy";
    work.bytes = bytes;
    work.ranges = {range(to, bytes, true), range(from, bytes, false)};
    work.act = [=]() -> CUresult {
        std::memmove(pointer(to), pointer(from), bytes);
        return CUDA_SUCCESS;
    };
    return work;
}

template <typename Value> Work fill(CUdeviceptr to, Value value, std::size_t count) {
    Work work;
    work.kind = "fill";
    work.bytes = count * sizeof value;
    work.ranges = {range(to, work.bytes, true)};
    work.act = [=]() -> CUresult {
        auto *values = static_cast<Value *>(pointer(to));
        for (std::size_t i = 0; i < count; ++i) {
            values[i] = value;
        }
        return CUDA_SUCCESS;
    };
    return work;
}

enum class Wait { never, always, unless_pinned };

// Makes a work and enqueues it. `make` is told whether the stream is being captured.
template <typename Make>
CUresult transfer(const char *name, CUstream handle, std::size_t bytes, Wait wait, Make make) {
    return call(name, Needs::context, [&](Driver &driver, Lock &lock) -> CUresult {
        std::shared_ptr<Stream> stream = stream_of(driver, handle);
        if (!stream) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (bytes == 0) {
            return CUDA_SUCCESS;
        }
        if (wait == Wait::always) {
            if (CUresult result = forbidden_by_captures(driver)) {
                return result;
            }
        }
        for (const char *kind : {"enqueue", "copy"}) {
            if (CUresult due = driver.faults.due(kind)) {
                return due;
            }
        }
        Work work = make(driver, stream->capture != nullptr);
        bool waits = wait == Wait::always || (wait == Wait::unless_pinned && work.label == "pageable");
        std::shared_ptr<Operation> operation;
        Extra extra;
        extra.out = &operation;
        if (CUresult result = submit(driver, stream, std::move(work), extra)) {
            return result;
        }
        return waits ? wait_for(driver, lock, operation) : CUDA_SUCCESS;
    });
}

std::uintptr_t address_of(const void *host) { return reinterpret_cast<std::uintptr_t>(host); }

} // namespace
} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, std::size_t bytes,
                                       CUstream stream) {
    return transfer("cuMemcpyHtoDAsync_v2", stream, bytes, Wait::never,
                    [&](Driver &driver, bool captured) {
                        return upload(driver, to, address_of(from), bytes, captured);
                    });
}

CUDA_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, std::size_t bytes) {
    return transfer("cuMemcpyHtoD_v2", nullptr, bytes, Wait::always,
                    [&](Driver &driver, bool captured) {
                        return upload(driver, to, address_of(from), bytes, captured);
                    });
}

CUDA_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, std::size_t bytes,
                                       CUstream stream) {
    return transfer("cuMemcpyDtoHAsync_v2", stream, bytes, Wait::unless_pinned,
                    [&](Driver &driver, bool) {
                        return download(driver, address_of(to), from, bytes);
                    });
}

CUDA_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, std::size_t bytes) {
    return transfer("cuMemcpyDtoH_v2", nullptr, bytes, Wait::always, [&](Driver &driver, bool) {
        return download(driver, address_of(to), from, bytes);
    });
}

CUDA_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes,
                                       CUstream stream) {
    return transfer("cuMemcpyDtoDAsync_v2", stream, bytes, Wait::never,
                    [&](Driver &, bool) { return copy(to, from, bytes); });
}

CUDA_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes) {
    return transfer("cuMemcpyDtoD_v2", nullptr, bytes, Wait::always,
                    [&](Driver &, bool) { return copy(to, from, bytes); });
}

// The general copy: the pointers determine its direction.
CUDA_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes,
                                CUstream stream) {
    return transfer("cuMemcpyAsync", stream, bytes, Wait::unless_pinned,
                    [&](Driver &driver, bool captured) {
                        const Allocation *target = driver.memory.find(to);
                        const Allocation *source = driver.memory.find(from);
                        bool into = target && target->place == Place::device;
                        bool out_of = source && source->place == Place::device;
                        if (into && out_of) {
                            return copy(to, from, bytes);
                        }
                        return out_of ? download(driver, to, from, bytes)
                                      : upload(driver, to, from, bytes, captured);
                    });
}

CUDA_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t count,
                                  CUstream stream) {
    return transfer("cuMemsetD8Async", stream, count, Wait::never,
                    [&](Driver &, bool) { return fill(to, value, count); });
}

CUDA_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, std::size_t count) {
    return transfer("cuMemsetD8_v2", nullptr, count, Wait::always,
                    [&](Driver &, bool) { return fill(to, value, count); });
}

CUDA_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t count,
                                   CUstream stream) {
    return transfer("cuMemsetD32Async", stream, count, Wait::never,
                    [&](Driver &, bool) { return fill(to, value, count); });
}

CUDA_API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, std::size_t count) {
    return transfer("cuMemsetD32_v2", nullptr, count, Wait::always,
                    [&](Driver &, bool) { return fill(to, value, count); });
}
