// What a program may set for its contexts, and the cache of compiled kernels, which here is a
// blob that has to be one of ours.
#pragma once

#include "log.hpp"

namespace stand_in {

class RuntimeCache final : public nvinfer1::IRuntimeCache, public nvinfer1::apiv::VRuntimeCache {
  public:
    RuntimeCache() : counted_("TensorRT runtime cache") { mImpl = this; }

    nvinfer1::IHostMemory *serialize() const noexcept override;
    bool deserialize(void const *blob, size_t size) noexcept override;
    bool reset() noexcept override;

    // A context was made with it: what it compiled is in the cache from then on.
    void grow() { ++entries_; }

  private:
    Counted counted_;
    unsigned entries_ = 0;
};

class RuntimeConfig final : public nvinfer1::IRuntimeConfig, public nvinfer1::apiv::VRuntimeConfig {
  public:
    RuntimeConfig() : counted_("TensorRT runtime config") { mImpl = this; }

    nvinfer1::IRuntimeConfig *getPImpl() noexcept override { return this; }
    void setExecutionContextAllocationStrategy(
        nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
        allocation_ = strategy;
    }
    nvinfer1::ExecutionContextAllocationStrategy
    getExecutionContextAllocationStrategy() const noexcept override {
        return allocation_;
    }
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

    RuntimeCache *cache() const { return cache_; }

  private:
    Counted counted_;
    nvinfer1::ExecutionContextAllocationStrategy allocation_{};
    nvinfer1::DynamicShapesKernelSpecializationStrategy specialization_{};
    nvinfer1::CudaGraphStrategy graphs_{};
    RuntimeCache *cache_ = nullptr;
};

} // namespace stand_in
