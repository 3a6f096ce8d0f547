// Pointers that are wrong, each in its own process: the error stays.

#include "check.hpp"

// From now on everything fails, and the reason is in the trace.
static void expect_broken(CUstream s, const char *reason) {
    EQUAL(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr a;
    EQUAL(cuMemAlloc_v2(&a, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUcontext context;
    EQUAL(cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(traced("\"record\":\"illegal_address\""), 1);
    EQUAL(traced(reason), 1);
}

CASE(host_pointer_as_device_pointer) {
    Gpu gpu;
    CUstream s = stream();
    unsigned number = 0;
    OK(cuMemcpyHtoDAsync_v2(reinterpret_cast<CUdeviceptr>(&number), &number, 4, s));
    expect_broken(s, "no device memory");
}

CASE(device_pointer_as_host_pointer) {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers(), b = device_numbers();
    OK(cuMemcpyHtoDAsync_v2(a, reinterpret_cast<void *>(b), 4, s));
    expect_broken(s, "was given as host memory");
}

CASE(past_the_end) {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers(4);
    OK(cuMemsetD32Async(a + 4, 0, 4, s));
    expect_broken(s, "4 bytes past the end");
}

CASE(freed_memory) {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    OK(cuMemFree_v2(a));
    OK(cuMemsetD32Async(a, 0, 1, s));
    expect_broken(s, "was freed");
}

CASE(memory_of_another_device, "STAND_IN_GPUS=A:12.0:1GiB,B:12.0:1GiB") {
    Gpu first;
    CUdeviceptr a = device_numbers();
    Gpu second(1);
    CUstream s = stream();
    OK(cuMemsetD32Async(a, 0, 1, s));
    EQUAL(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(traced("lies on another device"), 1);
    // The first device goes on.
    CUcontext context;
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuCtxSynchronize());
}

CASE(freed_while_in_use) {
    Gpu gpu;
    OK(stand_in_control("delay fill:30ms", nullptr, 0));
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    OK(cuMemsetD32Async(a, 0, 1, s));
    OK(cuMemFree_v2(a));
    OK(cuStreamQuery(s));
    EQUAL(traced("was given back while it was in use"), 1);
}
