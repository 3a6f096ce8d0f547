// What a program may set for its contexts.
#pragma once

#include "flavour.hpp"

namespace stand_in {

class RuntimeConfig final : public RuntimeConfigOfFlavour {
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

  private:
    Counted counted_;
    nvinfer1::ExecutionContextAllocationStrategy allocation_{};
};

} // namespace stand_in
