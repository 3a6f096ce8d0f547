// An engine: the contents of its file, and the device memory of its weights. Functions that are of
// no use here answer like those of an engine without the feature.
#pragma once

#include "device_memory.hpp"
#include "engine_file.hpp"
#include "flavour.hpp"
#include "function.hpp"

#include <memory>

namespace stand_in {

class RuntimeConfig;

class Engine final : public EngineOfFlavour {
  public:
    Engine(EngineFile file, nvinfer1::ILogger *logger, std::shared_ptr<int> engines);
    ~Engine() override;

    // Allocates the memory of the weights.
    CUresult load() { return weights_.allocate(file_.weight_bytes); }

    const EngineFile &file() const { return file_; }
    const std::shared_ptr<const ImageFunction> &image_function() const { return image_function_; }
    nvinfer1::ILogger *logger() const { return logger_; }
    Range weights() const { return {weights_.begin(), weights_.end(), false}; }
    // Null if no tensor has this name.
    const Tensor *tensor(char const *name) const;
    // The number of a stream, from 1, in the order in which they are first used.
    std::size_t slot_of(CUstream stream);
    // The number of live contexts. They share the counter, because one may outlive its engine.
    const std::shared_ptr<int> &contexts() const { return contexts_; }

    nvinfer1::ICudaEngine *getPImpl() noexcept override { return this; }
    int32_t getNbLayers() const noexcept override { return 1; }
    nvinfer1::IHostMemory *serialize() const noexcept override;
    nvinfer1::IExecutionContext *
    createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override;
    nvinfer1::IExecutionContext *
    createExecutionContextWithRuntimeConfig(nvinfer1::IRuntimeConfig *config) noexcept override;
    nvinfer1::IRuntimeConfig *createRuntimeConfig() noexcept override;
    nvinfer1::IEngineInspector *createEngineInspector() const noexcept override;

    char const *getName() const noexcept override { return file_.image ? "image" : "text"; }
    int32_t getNbOptimizationProfiles() const noexcept override;
    int32_t getNbIOTensors() const noexcept override { return 2; }
    char const *getIOTensorName(int32_t index) const noexcept override;
    nvinfer1::Dims getTensorShape(char const *name) const noexcept override;
    nvinfer1::DataType getTensorDataType(char const *name) const noexcept override;
    nvinfer1::TensorIOMode getTensorIOMode(char const *name) const noexcept override;
    nvinfer1::TensorLocation getTensorLocation(char const *) const noexcept override {
        return nvinfer1::TensorLocation::kDEVICE;
    }
    nvinfer1::Dims getProfileShape(char const *name, int32_t profile,
                                   nvinfer1::OptProfileSelector select) const noexcept override;
    int32_t getTensorBytesPerComponent(char const *name) const noexcept override;
    int32_t getTensorBytesPerComponentV2(char const *name, int32_t) const noexcept override {
        return getTensorBytesPerComponent(name);
    }
    int64_t getDeviceMemorySizeV2() const noexcept override {
        return static_cast<int64_t>(file_.context_bytes);
    }
    int64_t getDeviceMemorySizeForProfileV2(int32_t) const noexcept override {
        return static_cast<int64_t>(file_.context_bytes);
    }
    int64_t getEngineStat(nvinfer1::EngineStat) const noexcept override {
        return static_cast<int64_t>(file_.weight_bytes);
    }
    void setErrorRecorder(nvinfer1::IErrorRecorder *recorder) noexcept override { recorder_ = recorder; }
    nvinfer1::IErrorRecorder *getErrorRecorder() const noexcept override { return recorder_; }

    bool isRefittable() const noexcept override { return false; }
    nvinfer1::EngineCapability getEngineCapability() const noexcept override {
        return nvinfer1::EngineCapability::kSTANDARD;
    }
    nvinfer1::TacticSources getTacticSources() const noexcept override { return 0; }
    nvinfer1::ProfilingVerbosity getProfilingVerbosity() const noexcept override { return {}; }
    bool isShapeInferenceIO(char const *) const noexcept override { return false; }
    int32_t getTensorComponentsPerElement(char const *) const noexcept override { return 1; }
    int32_t getTensorComponentsPerElementV2(char const *, int32_t) const noexcept override { return 1; }
    nvinfer1::TensorFormat getTensorFormat(char const *) const noexcept override {
        return nvinfer1::TensorFormat::kLINEAR;
    }
    nvinfer1::TensorFormat getTensorFormatV2(char const *, int32_t) const noexcept override {
        return nvinfer1::TensorFormat::kLINEAR;
    }
    char const *getTensorFormatDesc(char const *) const noexcept override { return "row-major"; }
    char const *getTensorFormatDescV2(char const *, int32_t) const noexcept override {
        return "row-major";
    }
    int32_t getTensorVectorizedDim(char const *) const noexcept override { return -1; }
    int32_t getTensorVectorizedDimV2(char const *, int32_t) const noexcept override { return -1; }
    nvinfer1::HardwareCompatibilityLevel getHardwareCompatibilityLevel() const noexcept override {
        return {};
    }
    int32_t getNbAuxStreams() const noexcept override { return 0; }
    nvinfer1::ISerializationConfig *createSerializationConfig() noexcept override { return nullptr; }
    nvinfer1::IHostMemory *
    serializeWithConfig(nvinfer1::ISerializationConfig &) const noexcept override {
        return serialize();
    }
    nvinfer1::IRefitter *createRefitter(nvinfer1::ILogger &) noexcept override { return nullptr; }
    int64_t getStreamableWeightsSize() const noexcept override { return 0; }
    bool isDebugTensor(char const *) const noexcept override { return false; }
    bool setWeightStreamingBudgetV2(int64_t) noexcept override { return false; }
    int64_t getWeightStreamingBudgetV2() const noexcept override { return 0; }
    int64_t getWeightStreamingAutomaticBudget() const noexcept override { return 0; }
    int64_t getWeightStreamingScratchMemorySize() const noexcept override { return 0; }
    int64_t const *getProfileTensorValuesV2(char const *, int32_t,
                                            nvinfer1::OptProfileSelector) const noexcept override {
        return nullptr;
    }
    char const *getAliasedInputTensor(char const *) const noexcept override { return nullptr; }

  private:
    nvinfer1::IExecutionContext *
    make_context(RuntimeConfig *config, nvinfer1::ExecutionContextAllocationStrategy strategy);

    Counted counted_;
    EngineFile file_;
    nvinfer1::ILogger *logger_;
    // The runtime's count of its engines.
    std::shared_ptr<int> engines_;
    std::shared_ptr<int> contexts_ = std::make_shared<int>(0);
    DeviceMemory weights_;
    std::vector<CUstream> streams_;
    std::shared_ptr<const ImageFunction> image_function_;
    nvinfer1::IErrorRecorder *recorder_ = nullptr;
};

} // namespace stand_in
