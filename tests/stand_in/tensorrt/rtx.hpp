// TensorRT for RTX: what it has beyond standard TensorRT. It compiles kernels on the machine where
// they run and keeps them in a cache, which here is a line of text.
#pragma once

#include "host_memory.hpp"

#include <cstdio>
#include <cstdlib>

namespace stand_in {

class RuntimeOfFlavour : public nvinfer1::IRuntime, public nvinfer1::apiv::VRuntime {
  public:
    int64_t getEngineHeaderSize() const noexcept override { return 64; }
    // Not used: the program tries to load an engine, which says why it is refused.
    nvinfer1::EngineValidity getEngineValidity(void const *, int64_t,
                                               uint64_t *) const noexcept override {
        std::abort();
    }
    void setDeferredWeightsLoading(bool) noexcept override {}
    bool getDeferredWeightsLoading() const noexcept override { return false; }
};

class EngineOfFlavour : public nvinfer1::ICudaEngine, public nvinfer1::apiv::VCudaEngine {
  public:
    bool areWeightsLoaded() const noexcept override { return true; }
    bool loadWeights(void const *, int64_t) noexcept override { return false; }
    bool loadWeightsAsync(nvinfer1::IStreamReaderV2 &, cudaStream_t) noexcept override { return false; }
    bool unloadWeights() noexcept override { return false; }
    nvinfer1::IWeightsManager *createWeightsManager() noexcept override { return nullptr; }
};

class ExecutionContextOfFlavour : public nvinfer1::IExecutionContext,
                                  public nvinfer1::apiv::VExecutionContext {
  public:
    bool isStreamCapturable(cudaStream_t) const noexcept override { return true; }
};

class RuntimeCache final : public nvinfer1::IRuntimeCache, public nvinfer1::apiv::VRuntimeCache {
  public:
    RuntimeCache() : counted_("TensorRT runtime cache") { mImpl = this; }

    nvinfer1::IHostMemory *serialize() const noexcept override {
        char text[64];
        std::snprintf(text, sizeof text, FORMAT, entries_);
        return new HostMemory(text);
    }
    bool deserialize(void const *blob, size_t size) noexcept override {
        std::string text(static_cast<const char *>(blob), size);
        unsigned entries = 0;
        if (std::sscanf(text.c_str(), FORMAT, &entries) != 1) {
            return false;
        }
        entries_ = entries;
        return true;
    }
    bool reset() noexcept override {
        entries_ = 0;
        return true;
    }

    void grow() { ++entries_; }

  private:
    // A line of text: how many contexts were made with the cache.
    static constexpr const char *FORMAT = "stand-in runtime cache %u\n";

    Counted counted_;
    unsigned entries_ = 0;
};

class RuntimeConfigOfFlavour : public nvinfer1::IRuntimeConfig,
                               public nvinfer1::apiv::VRuntimeConfig {
  public:
    nvinfer1::IRuntimeCache *createRuntimeCache() const noexcept override { return new RuntimeCache; }
    bool setRuntimeCache(nvinfer1::IRuntimeCache const &cache) noexcept override {
        cache_ = static_cast<RuntimeCache *>(const_cast<nvinfer1::IRuntimeCache *>(&cache));
        return true;
    }
    nvinfer1::IRuntimeCache *getRuntimeCache() const noexcept override { return cache_; }
    void setDynamicShapesKernelSpecializationStrategy(
        nvinfer1::DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
        specialization_ = strategy;
    }
    nvinfer1::DynamicShapesKernelSpecializationStrategy
    getDynamicShapesKernelSpecializationStrategy() const noexcept override {
        return specialization_;
    }
    bool setCudaGraphStrategy(nvinfer1::CudaGraphStrategy strategy) noexcept override {
        graphs_ = strategy;
        return true;
    }
    nvinfer1::CudaGraphStrategy getCudaGraphStrategy() const noexcept override { return graphs_; }

    // Adds what the context compiled to the cache.
    void context_was_made() {
        if (cache_) {
            cache_->grow();
        }
    }

  private:
    nvinfer1::DynamicShapesKernelSpecializationStrategy specialization_{};
    nvinfer1::CudaGraphStrategy graphs_{};
    RuntimeCache *cache_ = nullptr;
};

} // namespace stand_in
