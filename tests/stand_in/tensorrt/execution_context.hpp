// A context: the shape and the addresses of one inference, and the device memory that it uses
// while it runs. An inference is one work in a stream: it reads the input, writes the output, and
// needs the context's memory exclusively, so using a context in two streams at a time is a race.
// If the program manages that memory (kUSER_MANAGED), two contexts may share it, and using both at
// a time is a race.
#pragma once

#include "device_memory.hpp"
#include "engine.hpp"

#include <optional>

namespace stand_in {

class ExecutionContext final : public ExecutionContextOfFlavour {
  public:
    ExecutionContext(Engine &engine, RuntimeConfig *config);
    ~ExecutionContext() override;

    // Allocates the memory that the context computes in, unless the program provides it.
    CUresult allocate();

    nvinfer1::IExecutionContext *getPImpl() noexcept override { return this; }
    nvinfer1::ICudaEngine const &getEngine() const noexcept override { return engine_; }
    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept override;
    int32_t getOptimizationProfile() const noexcept override { return profile_; }
    bool setInputShape(char const *name, nvinfer1::Dims const &dims) noexcept override;
    bool allInputDimensionsSpecified() const noexcept override { return rows_.has_value(); }
    int32_t inferShapes(int32_t most, char const **names) noexcept override;
    nvinfer1::Dims getTensorShape(char const *name) const noexcept override;
    nvinfer1::Dims getTensorStrides(char const *name) const noexcept override;
    bool setTensorAddress(char const *name, void *data) noexcept override;
    void const *getTensorAddress(char const *name) const noexcept override;
    bool setInputTensorAddress(char const *name, void const *data) noexcept override;
    bool setOutputTensorAddress(char const *name, void *data) noexcept override;
    void *getOutputTensorAddress(char const *name) const noexcept override;
    int64_t getMaxOutputSize(char const *name) const noexcept override;
    bool enqueueV3(cudaStream_t stream) noexcept override;
    bool setInputConsumedEvent(cudaEvent_t event) noexcept override {
        consumed_ = event;
        return true;
    }
    cudaEvent_t getInputConsumedEvent() const noexcept override { return consumed_; }
    nvinfer1::IRuntimeConfig *getRuntimeConfig() const noexcept override;

    void setName(char const *name) noexcept override { name_ = name; }
    char const *getName() const noexcept override { return name_.c_str(); }
    void setErrorRecorder(nvinfer1::IErrorRecorder *recorder) noexcept override { recorder_ = recorder; }
    nvinfer1::IErrorRecorder *getErrorRecorder() const noexcept override { return recorder_; }
    void setDebugSync(bool sync) noexcept override { debug_sync_ = sync; }
    bool getDebugSync() const noexcept override { return debug_sync_; }
    void setPersistentCacheLimit(size_t size) noexcept override { cache_limit_ = size; }
    size_t getPersistentCacheLimit() const noexcept override { return cache_limit_; }
    bool setNvtxVerbosity(nvinfer1::ProfilingVerbosity verbosity) noexcept override {
        verbosity_ = verbosity;
        return true;
    }
    nvinfer1::ProfilingVerbosity getNvtxVerbosity() const noexcept override { return verbosity_; }
    // Also 0 on failure, which is then in the log.
    size_t updateDeviceMemorySizeForShapes() noexcept override;
    void setEnqueueEmitsProfile(bool emits) noexcept override { emits_profile_ = emits; }
    bool getEnqueueEmitsProfile() const noexcept override { return emits_profile_; }

    void setDeviceMemory(void *memory) noexcept override {
        setDeviceMemoryV2(memory, static_cast<int64_t>(engine_.file().context_bytes));
    }
    void setDeviceMemoryV2(void *memory, int64_t size) noexcept override;

    // Not implemented: profilers, allocators, debugging, several GPUs.
    void setProfiler(nvinfer1::IProfiler *) noexcept override {}
    nvinfer1::IProfiler *getProfiler() const noexcept override { return nullptr; }
    bool reportToProfiler() const noexcept override { return false; }
    bool executeV2(void *const *) noexcept override { return false; }
    bool setOutputAllocator(char const *, nvinfer1::IOutputAllocator *) noexcept override {
        return false;
    }
    nvinfer1::IOutputAllocator *getOutputAllocator(char const *) noexcept override { return nullptr; }
    bool setTemporaryStorageAllocator(nvinfer1::IGpuAllocator *) noexcept override { return false; }
    nvinfer1::IGpuAllocator *getTemporaryStorageAllocator() const noexcept override { return nullptr; }
    void setAuxStreams(cudaStream_t *, int32_t) noexcept override {}
    bool setDebugListener(nvinfer1::IDebugListener *) noexcept override { return false; }
    nvinfer1::IDebugListener *getDebugListener() noexcept override { return nullptr; }
    bool setTensorDebugState(char const *, bool) noexcept override { return false; }
    bool getDebugState(char const *) const noexcept override { return false; }
    bool setAllTensorsDebugState(bool) noexcept override { return false; }
    bool setUnfusedTensorsDebugState(bool) noexcept override { return false; }
    bool getUnfusedTensorsDebugState() const noexcept override { return false; }
    bool setCommunicator(void *) noexcept override { return false; }

  private:
    bool refuse(const std::string &why) const;
    const ProfileSizes &profile() const;
    bool user_managed() const;
    // Bytes that a batch of the current shape computes in; the largest batch uses all of them.
    std::size_t needed() const;
    std::optional<Range> memory() const;

    Counted counted_;
    Engine &engine_;
    std::shared_ptr<int> siblings_;
    RuntimeConfig *config_;
    DeviceMemory memory_;
    // The memory that the program provided.
    Range given_{0, 0, true};
    int32_t profile_ = 0;
    std::optional<int64_t> rows_;
    // Of each row, where the input has them.
    int64_t patches_ = 1;
    void *input_ = nullptr;
    void *output_ = nullptr;
    cudaEvent_t consumed_ = nullptr;
    std::string name_;
    nvinfer1::IErrorRecorder *recorder_ = nullptr;
    nvinfer1::ProfilingVerbosity verbosity_{};
    std::size_t cache_limit_ = 0;
    bool debug_sync_ = false;
    bool emits_profile_ = true;
};

} // namespace stand_in
