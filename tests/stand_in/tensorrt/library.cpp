// What the library exports: the names that a program looks up in TensorRT.

#include "runtime.hpp"
#include "version.hpp"

#include <cstdio>
#include <cstdlib>

namespace stand_in {

Version version() {
    Version found{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH};
    const char *set = std::getenv("STAND_IN_TENSORRT_VERSION");
    if (set && *set &&
        std::sscanf(set, "%d.%d.%d", &found.major, &found.minor, &found.patch) != 3) {
        std::fprintf(stderr, "stand-in: STAND_IN_TENSORRT_VERSION: \"%s\" is no version\n", set);
        std::abort();
    }
    return found;
}

std::string version_text() {
    Version found = version();
    return std::to_string(found.major) + "." + std::to_string(found.minor) + "." +
           std::to_string(found.patch);
}

} // namespace stand_in

using stand_in::version;

CUDA_API void *createInferRuntime_INTERNAL(void *logger, int32_t wanted) noexcept {
    auto found = version();
    if (wanted != NV_TENSORRT_VERSION_INT(found.major, found.minor, found.patch)) {
        stand_in::log_error(static_cast<nvinfer1::ILogger *>(logger),
                            "the program was compiled for another version of TensorRT than " +
                                stand_in::version_text());
        return nullptr;
    }
    // The program uses the pointer as an IRuntime, so it must point to that base.
    nvinfer1::IRuntime *runtime = new stand_in::Runtime(static_cast<nvinfer1::ILogger *>(logger));
    return runtime;
}

// There is no builder and no refitter here.
CUDA_API void *createInferBuilder_INTERNAL(void *, int32_t) noexcept { return nullptr; }
CUDA_API void *createInferRefitter_INTERNAL(void *, void *, int32_t) noexcept { return nullptr; }

CUDA_API int32_t getInferLibVersion() noexcept {
    auto found = version();
    return static_cast<int32_t>(NV_TENSORRT_VERSION_INT(found.major, found.minor, found.patch));
}
CUDA_API int32_t getInferLibMajorVersion() noexcept { return version().major; }
CUDA_API int32_t getInferLibMinorVersion() noexcept { return version().minor; }
CUDA_API int32_t getInferLibPatchVersion() noexcept { return version().patch; }
CUDA_API int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }
