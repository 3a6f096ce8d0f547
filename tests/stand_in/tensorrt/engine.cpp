#include "engine.hpp"

#include "execution_context.hpp"
#include "host_memory.hpp"
#include "inspector.hpp"
#include "runtime_config.hpp"
#include "shape.hpp"

#include <algorithm>

namespace stand_in {

Engine::Engine(EngineFile file, nvinfer1::ILogger *logger, std::shared_ptr<int> engines)
    : counted_("TensorRT engine"), file_(std::move(file)), logger_(logger),
      engines_(std::move(engines)) {
    mImpl = this;
    ++*engines_;
    if (file_.image) {
        image_function_ = std::make_shared<ImageFunction>(
            file_.input.row_elements(file_.most_patches()), file_.output.row_elements());
    }
}

Engine::~Engine() {
    --*engines_;
    if (*contexts_ > 0) {
        misuse("an engine was destroyed with " + std::to_string(*contexts_) +
               " contexts of it left");
    }
}

const Tensor *Engine::tensor(char const *name) const {
    for (const Tensor *tensor : {&file_.input, &file_.output}) {
        if (name && tensor->name == name) {
            return tensor;
        }
    }
    log_error(logger_, std::string("there is no tensor \"") + (name ? name : "") + "\" in the engine");
    return nullptr;
}

nvinfer1::IHostMemory *Engine::serialize() const noexcept { return new HostMemory(file_.text); }

nvinfer1::IExecutionContext *
Engine::createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept {
    return make_context(nullptr, strategy);
}

nvinfer1::IExecutionContext *
Engine::createExecutionContextWithRuntimeConfig(nvinfer1::IRuntimeConfig *config) noexcept {
    return make_context(static_cast<RuntimeConfig *>(config),
                        config->getExecutionContextAllocationStrategy());
}

nvinfer1::IRuntimeConfig *Engine::createRuntimeConfig() noexcept { return new RuntimeConfig; }

nvinfer1::IEngineInspector *Engine::createEngineInspector() const noexcept {
    return new Inspector(file_.text);
}

std::size_t Engine::slot_of(CUstream stream) {
    auto found = std::find(streams_.begin(), streams_.end(), stream);
    auto slot = static_cast<std::size_t>(found - streams_.begin()) + 1;
    if (found == streams_.end()) {
        streams_.push_back(stream);
    }
    return slot;
}

nvinfer1::IExecutionContext *
Engine::make_context(RuntimeConfig *config, nvinfer1::ExecutionContextAllocationStrategy strategy) {
    if (file_.user_allocation &&
        strategy != nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED) {
        log_error(logger_, "the engine was built with kREQUIRE_USER_ALLOCATION, so its contexts "
                           "must be kUSER_MANAGED");
        return nullptr;
    }
    if (CUresult due = fault("context")) {
        log_error(logger_, std::string("the execution context cannot be created: ") + words_of(due));
        return nullptr;
    }
    auto context = std::make_unique<ExecutionContext>(*this, config);
    if (CUresult result = context->allocate()) {
        log_error(logger_, "the execution context's " + std::to_string(file_.context_bytes) +
                               " bytes cannot be allocated: " + words_of(result));
        return nullptr;
    }
    if (config) {
        config->context_was_made();
    }
    return context.release();
}

int32_t Engine::getNbOptimizationProfiles() const noexcept {
    return static_cast<int32_t>(file_.profiles.size());
}

char const *Engine::getIOTensorName(int32_t index) const noexcept {
    return index == 0   ? file_.input.name.c_str()
           : index == 1 ? file_.output.name.c_str()
                        : nullptr;
}

nvinfer1::Dims Engine::getTensorShape(char const *name) const noexcept {
    const Tensor *found = tensor(name);
    return found ? shape(*found, -1) : NO_SHAPE;
}

nvinfer1::DataType Engine::getTensorDataType(char const *name) const noexcept {
    const Tensor *found = tensor(name);
    std::string type = found ? found->type : "";
    return type == "fp16"    ? nvinfer1::DataType::kHALF
           : type == "uint8" ? nvinfer1::DataType::kUINT8
           : type == "int32" ? nvinfer1::DataType::kINT32
           : type == "int64" ? nvinfer1::DataType::kINT64
                             : nvinfer1::DataType::kFLOAT;
}

nvinfer1::TensorIOMode Engine::getTensorIOMode(char const *name) const noexcept {
    const Tensor *found = tensor(name);
    return !found                  ? nvinfer1::TensorIOMode::kNONE
           : found == &file_.input ? nvinfer1::TensorIOMode::kINPUT
                                   : nvinfer1::TensorIOMode::kOUTPUT;
}

nvinfer1::Dims Engine::getProfileShape(char const *name, int32_t profile,
                                       nvinfer1::OptProfileSelector select) const noexcept {
    const Tensor *found = tensor(name);
    bool known = profile >= 0 && profile < getNbOptimizationProfiles();
    auto which = static_cast<std::size_t>(select);
    if (found != &file_.input || !known || which > 2) {
        return NO_SHAPE;
    }
    const ProfileSizes &sizes = file_.profiles[static_cast<std::size_t>(profile)];
    return shape(*found, sizes.rows[which], sizes.patches[which]);
}

int32_t Engine::getTensorBytesPerComponent(char const *name) const noexcept {
    const Tensor *found = tensor(name);
    return found ? static_cast<int32_t>(found->row_bytes() / found->row_elements()) : -1;
}

} // namespace stand_in
