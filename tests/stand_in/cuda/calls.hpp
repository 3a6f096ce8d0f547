// The driver calls made by TensorRT's stand-in and the self-test, which link to this driver only.
#pragma once

#include "api.hpp"

CUDA_API CUresult cuCtxGetDevice(CUdevice *device);
CUDA_API CUresult cuCtxSetCurrent(CUcontext context);
CUDA_API CUresult cuCtxSynchronize();
CUDA_API CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUDA_API CUresult cuDeviceGetAttribute(int *value, int which, CUdevice device);
CUDA_API CUresult cuDeviceGetCount(int *count);
CUDA_API CUresult cuDeviceGetName(char *name, int capacity, CUdevice device);
CUDA_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUDA_API CUresult cuDriverGetVersion(int *version);
CUDA_API CUresult cuEventCreate(CUevent *event, unsigned flags);
CUDA_API CUresult cuEventDestroy_v2(CUevent event);
CUDA_API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent from, CUevent to);
CUDA_API CUresult cuEventQuery(CUevent event);
CUDA_API CUresult cuEventRecord(CUevent event, CUstream stream);
CUDA_API CUresult cuEventSynchronize(CUevent event);
CUDA_API CUresult cuGetErrorName(CUresult error, const char **name);
CUDA_API CUresult cuGetErrorString(CUresult error, const char **text);
CUDA_API CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version,
                                      unsigned long long flags, int *status);
CUDA_API CUresult cuGraphDestroy(CUgraph graph);
CUDA_API CUresult cuGraphExecDestroy(CUgraphExec exec);
CUDA_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph,
                                              unsigned long long flags);
CUDA_API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);
CUDA_API CUresult cuInit(unsigned flags);
CUDA_API CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void *), void *argument);
CUDA_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                 unsigned grid_z, unsigned block_x, unsigned block_y,
                                 unsigned block_z, unsigned shared_bytes, CUstream stream,
                                 void **parameters, void **extra);
CUDA_API CUresult cuMemAlloc_v2(CUdeviceptr *address, std::size_t bytes);
CUDA_API CUresult cuMemAllocAsync(CUdeviceptr *address, std::size_t bytes, CUstream stream);
CUDA_API CUresult cuMemAllocManaged(); // one of those that are not supported
CUDA_API CUresult cuMemFree_v2(CUdeviceptr address);
CUDA_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream);
CUDA_API CUresult cuMemFreeHost(void *address);
CUDA_API CUresult cuMemGetInfo_v2(std::size_t *free, std::size_t *total);
CUDA_API CUresult cuMemHostAlloc(void **address, std::size_t bytes, unsigned flags);
CUDA_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes);
CUDA_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes,
                                       CUstream stream);
CUDA_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, std::size_t bytes);
CUDA_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, std::size_t bytes,
                                       CUstream stream);
CUDA_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, std::size_t bytes);
CUDA_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, std::size_t bytes,
                                       CUstream stream);
CUDA_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t count,
                                   CUstream stream);
CUDA_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, std::size_t count);
CUDA_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
CUDA_API CUresult cuModuleLoadData(CUmodule *module, const void *image);
CUDA_API CUresult cuModuleUnload(CUmodule module);
CUDA_API CUresult cuPointerGetAttribute(void *out, int which, CUdeviceptr address);
CUDA_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUDA_API CUresult cuStreamCreate(CUstream *stream, unsigned flags);
CUDA_API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority);
CUDA_API CUresult cuStreamDestroy_v2(CUstream stream);
CUDA_API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
CUDA_API CUresult cuStreamQuery(CUstream stream);
CUDA_API CUresult cuStreamSynchronize(CUstream stream);
CUDA_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
