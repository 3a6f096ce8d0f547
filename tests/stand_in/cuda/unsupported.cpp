// Calls that exist in the driver and that nobody makes here. Each answers that it is not
// supported and puts its name into the trace, so that a program that comes to need one
// says which, instead of not finding it.

#include "driver.hpp"

#include <dlfcn.h>

using namespace stand_in;

#define NOT_SUPPORTED(name)                                                                        \
    CUDA_API CUresult name() {                                                                     \
        return call(#name, Needs::init,                                                            \
                    [](Driver &, Lock &) -> CUresult { return CUDA_ERROR_NOT_SUPPORTED; });        \
    }

NOT_SUPPORTED(cuCtxCreate_v2)
NOT_SUPPORTED(cuCtxCreate_v3)
NOT_SUPPORTED(cuCtxCreate_v4)
NOT_SUPPORTED(cuCtxDestroy_v2)
NOT_SUPPORTED(cuCtxGetApiVersion)
NOT_SUPPORTED(cuCtxGetCacheConfig)
NOT_SUPPORTED(cuCtxGetId)
NOT_SUPPORTED(cuCtxGetLimit)
NOT_SUPPORTED(cuCtxSetCacheConfig)
NOT_SUPPORTED(cuCtxSetLimit)
NOT_SUPPORTED(cuDestroyExternalMemory)
NOT_SUPPORTED(cuDeviceCanAccessPeer)
NOT_SUPPORTED(cuDeviceGetDefaultMemPool)
NOT_SUPPORTED(cuDeviceGetMemPool)
NOT_SUPPORTED(cuDeviceGetP2PAttribute)
NOT_SUPPORTED(cuDevicePrimaryCtxReset_v2)
NOT_SUPPORTED(cuDeviceSetMemPool)
NOT_SUPPORTED(cuExternalMemoryGetMappedBuffer)
NOT_SUPPORTED(cuGraphAddKernelNode_v2)
NOT_SUPPORTED(cuGraphCreate)
NOT_SUPPORTED(cuGraphExecUpdate_v2)
NOT_SUPPORTED(cuGraphInstantiateWithParams)
NOT_SUPPORTED(cuImportExternalMemory)
NOT_SUPPORTED(cuLaunchCooperativeKernel)
NOT_SUPPORTED(cuLaunchKernelEx)
NOT_SUPPORTED(cuLibraryGetKernel)
NOT_SUPPORTED(cuLibraryLoadData)
NOT_SUPPORTED(cuLibraryUnload)
NOT_SUPPORTED(cuLinkAddData_v2)
NOT_SUPPORTED(cuLinkComplete)
NOT_SUPPORTED(cuLinkCreate_v2)
NOT_SUPPORTED(cuLinkDestroy)
NOT_SUPPORTED(cuMemAddressFree)
NOT_SUPPORTED(cuMemAddressReserve)
NOT_SUPPORTED(cuMemAdvise_v2)
NOT_SUPPORTED(cuMemAllocFromPoolAsync)
NOT_SUPPORTED(cuMemAllocManaged)
NOT_SUPPORTED(cuMemAllocPitch_v2)
NOT_SUPPORTED(cuMemCreate)
NOT_SUPPORTED(cuMemMap)
NOT_SUPPORTED(cuMemPoolCreate)
NOT_SUPPORTED(cuMemPoolDestroy)
NOT_SUPPORTED(cuMemPoolGetAttribute)
NOT_SUPPORTED(cuMemPoolSetAttribute)
NOT_SUPPORTED(cuMemPoolTrimTo)
NOT_SUPPORTED(cuMemPrefetchAsync_v2)
NOT_SUPPORTED(cuMemRelease)
NOT_SUPPORTED(cuMemSetAccess)
NOT_SUPPORTED(cuMemUnmap)
NOT_SUPPORTED(cuMemcpy)
NOT_SUPPORTED(cuMemcpy2DAsync_v2)
NOT_SUPPORTED(cuMemcpyPeer)
NOT_SUPPORTED(cuMemcpyPeerAsync)
NOT_SUPPORTED(cuMemsetD16Async)
NOT_SUPPORTED(cuMemsetD16_v2)
NOT_SUPPORTED(cuModuleGetGlobal_v2)
NOT_SUPPORTED(cuModuleLoadFatBinary)
NOT_SUPPORTED(cuOccupancyAvailableDynamicSMemPerBlock)
NOT_SUPPORTED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOT_SUPPORTED(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
NOT_SUPPORTED(cuOccupancyMaxActiveClusters)
NOT_SUPPORTED(cuOccupancyMaxPotentialBlockSize)
NOT_SUPPORTED(cuOccupancyMaxPotentialBlockSizeWithFlags)
NOT_SUPPORTED(cuOccupancyMaxPotentialClusterSize)
NOT_SUPPORTED(cuPointerGetAttributes)
NOT_SUPPORTED(cuPointerSetAttribute)
NOT_SUPPORTED(cuProfilerInitialize)
NOT_SUPPORTED(cuProfilerStart)
NOT_SUPPORTED(cuProfilerStop)
NOT_SUPPORTED(cuStreamAddCallback)
NOT_SUPPORTED(cuStreamAttachMemAsync)
NOT_SUPPORTED(cuStreamGetAttribute)
NOT_SUPPORTED(cuStreamGetCaptureInfo_v2)
NOT_SUPPORTED(cuStreamGetCaptureInfo_v3)
NOT_SUPPORTED(cuStreamGetId)
NOT_SUPPORTED(cuStreamSetAttribute)
NOT_SUPPORTED(cuStreamWaitValue32_v2)
NOT_SUPPORTED(cuStreamWriteValue32_v2)

// How CUDA's own runtime finds the calls. The version that it asks for is the one there is.
CUDA_API CUresult cuGetProcAddress_v2(const char *symbol, void **function, int, unsigned long long,
                                      int *status) {
    static void *const self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    std::string name = symbol;
    for (const std::string &candidate : {name + "_v2", name}) {
        if ((*function = dlsym(self, candidate.c_str()))) {
            break;
        }
    }
    if (status) {
        *status = *function ? 0 : 1;
    }
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUDA_API CUresult cuGetProcAddress(const char *symbol, void **function, int version,
                                   unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
