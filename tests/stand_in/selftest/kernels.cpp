// Modules and launches.

#include "check.hpp"

static CUfunction function(CUmodule &module, const char *name) {
    OK(cuModuleLoadData(&module, "stand-in"));
    CUfunction found;
    OK(cuModuleGetFunction(&found, module, name));
    return found;
}

CASE(a_kernel_runs) {
    Gpu gpu;
    CUmodule module;
    CUfunction scale = function(module, "stand_in_scale");
    CUstream s = stream();
    CUdeviceptr x = device_numbers(300), y = device_numbers(300);
    std::vector<float> numbers(300), back(300);
    for (int i = 0; i < 300; ++i) {
        numbers[static_cast<std::size_t>(i)] = static_cast<float>(i);
    }
    float factor = 2;
    unsigned count = 300;
    void *parameters[] = {&y, &x, &factor, &count};
    OK(cuMemcpyHtoD_v2(x, numbers.data(), 1200));
    OK(cuLaunchKernel(scale, 2, 1, 1, 256, 1, 1, 0, s, parameters, nullptr));
    // The parameters were taken at the call.
    factor = 7;
    OK(cuMemcpyDtoHAsync_v2(back.data(), y, 1200, s));
    for (std::size_t i = 0; i < 300; ++i) {
        EQUAL(back[i], 2 * numbers[i]);
    }
    OK(cuModuleUnload(module));
    EQUAL(cuLaunchKernel(scale, 2, 1, 1, 256, 1, 1, 0, s, parameters, nullptr),
          CUDA_ERROR_INVALID_HANDLE);
}

CASE(the_projects_kernels_are_there) {
    Gpu gpu;
    CUmodule module;
    function(module, "resize_width");
    function(module, "resize_normalize_fp16");
    function(module, "resize_normalize_fp32");
    CUfunction none;
    EQUAL(cuModuleGetFunction(&none, module, "resize_height"), CUDA_ERROR_NOT_FOUND);
    EQUAL(cuModuleLoadData(&module, "a text"), CUDA_ERROR_INVALID_IMAGE);
    OK(cuModuleLoadData(&module, "\177ELF"));
    OK(cuModuleLoadData(&module, "stand-in sm_120"));
    EQUAL(cuModuleLoadData(&module, "stand-in sm_89"), CUDA_ERROR_NO_BINARY_FOR_GPU);
}

CASE(a_kernel_with_a_host_pointer) {
    Gpu gpu;
    CUmodule module;
    CUfunction scale = function(module, "stand_in_scale");
    float x[4] = {}, factor = 2;
    unsigned count = 4;
    const float *pointer = x;
    CUdeviceptr y = device_numbers(4);
    void *parameters[] = {&y, &pointer, &factor, &count};
    OK(cuLaunchKernel(scale, 1, 1, 1, 4, 1, 1, 0, nullptr, parameters, nullptr));
    EQUAL(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

CASE(launches_that_cannot_be) {
    Gpu gpu;
    CUmodule module;
    CUfunction scale = function(module, "stand_in_scale");
    CUdeviceptr x = device_numbers();
    float factor = 2;
    unsigned count = 1;
    void *parameters[] = {&x, &x, &factor, &count};
    for (auto [grid, block] : {std::pair{0u, 1u}, {1u, 0u}, {1u, 1025u}}) {
        EQUAL(cuLaunchKernel(scale, grid, 1, 1, block, 1, 1, 0, nullptr, parameters, nullptr),
              CUDA_ERROR_INVALID_VALUE);
    }
}
