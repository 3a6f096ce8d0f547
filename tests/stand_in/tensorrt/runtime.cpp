#include "runtime.hpp"

#include "version.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace stand_in {
namespace {

constexpr int MAJOR = 75;
constexpr int MINOR = 76;

// The compute capability of the device whose context is current.
CUresult current_capability(std::string &out) {
    CUdevice device = 0;
    int major = 0;
    int minor = 0;
    CUresult result = cuCtxGetDevice(&device);
    if (result == CUDA_SUCCESS) {
        result = cuDeviceGetAttribute(&major, MAJOR, device);
    }
    if (result == CUDA_SUCCESS) {
        result = cuDeviceGetAttribute(&minor, MINOR, device);
    }
    out = std::to_string(major) + "." + std::to_string(minor);
    return result;
}

bool runs_on(const EngineFile &file, const std::string &capability) {
    return std::any_of(file.compute_capabilities.begin(), file.compute_capabilities.end(),
                       [&](const std::string &one) { return one == "any" || one == capability; });
}

} // namespace

Runtime::~Runtime() {
    if (*engines_ > 0) {
        misuse("a runtime was destroyed with " + std::to_string(*engines_) + " engines of it left");
    }
}

nvinfer1::ICudaEngine *Runtime::deserializeCudaEngine(void const *blob, std::size_t size) noexcept {
    auto refuse = [&](const std::string &why) {
        log_error(logger_, "the engine cannot be deserialized: " + why);
        return nullptr;
    };
    std::string capability;
    if (CUresult result = current_capability(capability)) {
        return refuse(std::string("CUDA is not ready: ") + words_of(result));
    }
    if (CUresult due = fault("deserialize")) {
        return refuse(words_of(due));
    }
    try {
        EngineFile file = parse_engine({static_cast<const char *>(blob), size});
        if (file.tensorrt != version_text()) {
            return refuse("it was built with TensorRT " + file.tensorrt + ", and this is " +
                          version_text());
        }
        if (!runs_on(file, capability)) {
            return refuse("it was not built for this GPU's compute capability " + capability);
        }
        auto engine = std::make_unique<Engine>(std::move(file), logger_, engines_);
        if (CUresult result = engine->load()) {
            return refuse(std::string("its weights: ") + words_of(result));
        }
        return engine.release();
    } catch (const std::invalid_argument &error) {
        return refuse(error.what());
    }
}

// There is none, and a reference cannot be null.
nvinfer1::IPluginRegistry &Runtime::getPluginRegistry() noexcept { std::abort(); }

} // namespace stand_in
