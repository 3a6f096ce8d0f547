// Copies: what arrives, and when the host's memory is read and written.

#include "check.hpp"

CASE(copies_arrive) {
    Gpu gpu;
    std::vector<unsigned> numbers(1000), back(1000);
    for (unsigned i = 0; i < 1000; ++i) {
        numbers[i] = i * i;
    }
    CUdeviceptr a = device_numbers(1000), b = device_numbers(1000);
    OK(cuMemcpyHtoD_v2(a, numbers.data(), 4000));
    OK(cuMemcpyDtoD_v2(b, a, 4000));
    OK(cuMemcpyDtoH_v2(back.data(), b, 4000));
    CHECK(numbers == back);
    OK(cuMemcpyDtoH_v2(back.data(), b + 400, 4));
    EQUAL(back[0], 10000u);
    OK(cuMemsetD8_v2(a, 1, 8));
    EQUAL(number_at(a), 0x01010101u);
    EQUAL(number_at(a + 8), 4u);
    OK(cuMemFree_v2(a));
    OK(cuMemFree_v2(b));
}

CASE(new_memory_is_not_zero) {
    Gpu gpu;
    EQUAL(number_at(device_numbers()), 0xFFFFFFFFu);
}

CASE(pinned_memory_is_read_when_the_copy_runs, "STAND_IN_DELAY=upload:50ms") {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    unsigned *pinned = pinned_numbers();
    *pinned = 1;
    OK(cuMemcpyHtoDAsync_v2(a, pinned, 4, s));
    *pinned = 2;
    EQUAL(number_at(a), 2u);
}

CASE(pageable_memory_is_read_at_the_call, "STAND_IN_DELAY=upload:50ms") {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    unsigned number = 1;
    OK(cuMemcpyHtoDAsync_v2(a, &number, 4, s));
    number = 2;
    EQUAL(number_at(a), 1u);
}

CASE(downloads_into_pinned_memory_are_late, "STAND_IN_DELAY=download:50ms") {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    OK(cuMemsetD8_v2(a, 0, 4));
    unsigned *pinned = pinned_numbers();
    *pinned = 7;
    OK(cuMemcpyDtoHAsync_v2(pinned, a, 4, s));
    EQUAL(*static_cast<volatile unsigned *>(pinned), 7u);
    EQUAL(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
    OK(cuStreamSynchronize(s));
    EQUAL(*pinned, 0u);
    OK(cuStreamQuery(s));
    unsigned number = 7;
    OK(cuMemcpyDtoHAsync_v2(&number, a, 4, s));
    EQUAL(number, 0u);
}

CASE(pointers_are_known) {
    Gpu gpu;
    CUdeviceptr a = device_numbers();
    unsigned *pinned = pinned_numbers();
    unsigned type = 0, number = 0;
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a));
    EQUAL(type, CU_MEMORYTYPE_DEVICE);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                             reinterpret_cast<CUdeviceptr>(pinned)));
    EQUAL(type, CU_MEMORYTYPE_HOST);
    EQUAL(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                reinterpret_cast<CUdeviceptr>(&number)),
          CUDA_ERROR_INVALID_VALUE);
}

CASE(memory_in_the_order_of_a_stream) {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a;
    OK(cuMemAllocAsync(&a, 4, s));
    OK(cuMemsetD32Async(a, 5, 1, s));
    unsigned *pinned = pinned_numbers();
    OK(cuMemcpyDtoHAsync_v2(pinned, a, 4, s));
    OK(cuMemFreeAsync(a, s));
    OK(cuStreamSynchronize(s));
    EQUAL(*pinned, 5u);
    EQUAL(leaks("device memory"), 0);
}
