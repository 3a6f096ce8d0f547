// Standard TensorRT's interfaces: exactly those that both products have. It compiles nothing at
// run time, so it has no runtime cache.
#pragma once

#include "log.hpp"

namespace stand_in {

class RuntimeOfFlavour : public nvinfer1::IRuntime, public nvinfer1::apiv::VRuntime {};

class EngineOfFlavour : public nvinfer1::ICudaEngine, public nvinfer1::apiv::VCudaEngine {};

class ExecutionContextOfFlavour : public nvinfer1::IExecutionContext,
                                  public nvinfer1::apiv::VExecutionContext {};

class RuntimeConfigOfFlavour : public nvinfer1::IRuntimeConfig,
                               public nvinfer1::apiv::VRuntimeConfig {
  public:
    void context_was_made() {}
};

} // namespace stand_in
