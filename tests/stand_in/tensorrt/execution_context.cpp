#include "execution_context.hpp"

#include "inference.hpp"
#include "runtime_config.hpp"
#include "shape.hpp"

namespace stand_in {
namespace {

// TensorRT's required alignment of tensors.
constexpr std::uintptr_t ALIGNMENT = 256;

} // namespace

ExecutionContext::ExecutionContext(Engine &engine, RuntimeConfig *config)
    : counted_("TensorRT execution context"), engine_(engine), siblings_(engine.contexts()),
      config_(config) {
    mImpl = this;
    ++*siblings_;
}

ExecutionContext::~ExecutionContext() { --*siblings_; }

bool ExecutionContext::user_managed() const {
    return config_ && config_->getExecutionContextAllocationStrategy() ==
                          nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;
}

CUresult ExecutionContext::allocate() {
    return user_managed() ? CUDA_SUCCESS : memory_.allocate(engine_.file().context_bytes);
}

std::size_t ExecutionContext::needed() const {
    auto most = static_cast<std::size_t>(profile().rows[2] * profile().patches[2]);
    std::size_t now = rows_ ? static_cast<std::size_t>(*rows_ * patches_) : most;
    return engine_.file().context_bytes * now / most;
}

size_t ExecutionContext::updateDeviceMemorySizeForShapes() noexcept {
    if (!rows_ || fault("memory_size") != CUDA_SUCCESS) {
        refuse("the memory for the shapes is not known");
        return 0;
    }
    return needed();
}

void ExecutionContext::setDeviceMemoryV2(void *memory, int64_t size) noexcept {
    auto begin = reinterpret_cast<std::uintptr_t>(memory);
    given_ = {begin, begin + static_cast<std::uintptr_t>(size), true};
}

// Nothing if the engine needs no memory.
std::optional<Range> ExecutionContext::memory() const {
    if (engine_.file().context_bytes == 0) {
        return std::nullopt;
    }
    return user_managed() ? given_ : Range{memory_.begin(), memory_.end(), true};
}

bool ExecutionContext::refuse(const std::string &why) const {
    log_error(engine_.logger(), why);
    return false;
}

const ProfileSizes &ExecutionContext::profile() const {
    return engine_.file().profiles[static_cast<std::size_t>(profile_)];
}

bool ExecutionContext::setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept {
    if (profile < 0 || profile >= engine_.getNbOptimizationProfiles()) {
        return refuse("there is no optimization profile " + std::to_string(profile));
    }
    engine_.slot_of(stream);
    Work work;
    work.kind = "profile";
    work.label = engine_.getName();
    if (auto memory = this->memory(); memory && memory->begin != 0) {
        work.ranges = {*memory};
    }
    if (CUresult result = enqueue(stream, std::move(work))) {
        return refuse(std::string("the profile cannot be set: ") + words_of(result));
    }
    profile_ = profile;
    rows_.reset();
    return true;
}

bool ExecutionContext::setInputShape(char const *name, nvinfer1::Dims const &dims) noexcept {
    const Tensor *tensor = engine_.tensor(name);
    if (tensor != &engine_.file().input) {
        return refuse("only the input has a shape that can be set");
    }
    bool same = dims.nbDims == static_cast<int32_t>(tensor->row.size()) + 1;
    for (std::size_t i = 0; same && i < tensor->row.size(); ++i) {
        same = tensor->row[i] == -1 || dims.d[i + 1] == tensor->row[i];
    }
    if (!same) {
        return refuse("the shape of \"" + tensor->name + "\" is not the engine's");
    }
    auto within = [&](const std::array<std::int64_t, 3> &range, std::int64_t number, const char *of) {
        return (number >= range[0] && number <= range[2]) ||
               refuse(std::to_string(number) + " " + of + " are outside profile " +
                      std::to_string(profile_) + ", which has " + std::to_string(range[0]) + " to " +
                      std::to_string(range[2]));
    };
    std::int64_t patches = tensor->has_patches() ? dims.d[1] : 1;
    if (!within(profile().rows, dims.d[0], "rows") ||
        !within(profile().patches, patches, "patches")) {
        return false;
    }
    rows_ = dims.d[0];
    patches_ = patches;
    return true;
}

int32_t ExecutionContext::inferShapes(int32_t most, char const **names) noexcept {
    if (rows_) {
        return 0;
    }
    if (most > 0 && names) {
        names[0] = engine_.file().input.name.c_str();
    }
    return 1;
}

nvinfer1::Dims ExecutionContext::getTensorShape(char const *name) const noexcept {
    const Tensor *tensor = engine_.tensor(name);
    return tensor ? shape(*tensor, rows_.value_or(-1), rows_ ? patches_ : -1) : NO_SHAPE;
}

nvinfer1::Dims ExecutionContext::getTensorStrides(char const *name) const noexcept {
    nvinfer1::Dims dims = getTensorShape(name);
    int64_t stride = 1;
    for (int32_t i = dims.nbDims - 1; i >= 0; --i) {
        std::swap(dims.d[i], stride);
        stride *= dims.d[i];
    }
    return dims;
}

bool ExecutionContext::setTensorAddress(char const *name, void *data) noexcept {
    const Tensor *tensor = engine_.tensor(name);
    if (!tensor) {
        return false;
    }
    if (reinterpret_cast<std::uintptr_t>(data) % ALIGNMENT != 0) {
        return refuse("the address of \"" + tensor->name + "\" is not aligned to 256 bytes");
    }
    (tensor == &engine_.file().input ? input_ : output_) = data;
    return true;
}

void const *ExecutionContext::getTensorAddress(char const *name) const noexcept {
    const Tensor *tensor = engine_.tensor(name);
    return !tensor ? nullptr : tensor == &engine_.file().input ? input_ : output_;
}

bool ExecutionContext::setInputTensorAddress(char const *name, void const *data) noexcept {
    return engine_.tensor(name) == &engine_.file().input &&
           setTensorAddress(name, const_cast<void *>(data));
}

bool ExecutionContext::setOutputTensorAddress(char const *name, void *data) noexcept {
    return engine_.tensor(name) == &engine_.file().output && setTensorAddress(name, data);
}

void *ExecutionContext::getOutputTensorAddress(char const *name) const noexcept {
    return engine_.tensor(name) == &engine_.file().output ? output_ : nullptr;
}

int64_t ExecutionContext::getMaxOutputSize(char const *name) const noexcept {
    const Tensor *tensor = engine_.tensor(name);
    return tensor ? static_cast<int64_t>(tensor->row_bytes(profile().patches[2])) * profile().rows[2]
                  : -1;
}

bool ExecutionContext::enqueueV3(cudaStream_t stream) noexcept {
    if (!rows_) {
        return refuse("enqueueV3: the shape of the input was not set");
    }
    if (!input_ || !output_) {
        return refuse("enqueueV3: a tensor has no address");
    }
    auto memory = this->memory();
    if (memory && (memory->begin == 0 || memory->end - memory->begin < needed())) {
        return refuse("enqueueV3: the context has less device memory than its " +
                      std::to_string(needed()) + " bytes");
    }
    CUresult result = fault("trt_enqueue");
    if (result == CUDA_SUCCESS) {
        result = infer(stream, engine_,
                       {input_, output_, static_cast<std::size_t>(*rows_), patches_, memory});
    }
    if (result == CUDA_SUCCESS && consumed_) {
        result = cuEventRecord(consumed_, stream);
    }
    return result == CUDA_SUCCESS || refuse(std::string("enqueueV3: ") + words_of(result));
}

nvinfer1::IRuntimeConfig *ExecutionContext::getRuntimeConfig() const noexcept { return config_; }

} // namespace stand_in
