// The runtime: from the bytes of an engine file to an engine.
#pragma once

#include "engine.hpp"

namespace stand_in {

class Runtime final : public RuntimeOfFlavour {
  public:
    explicit Runtime(nvinfer1::ILogger *logger) : counted_("TensorRT runtime"), logger_(logger) {
        mImpl = this;
    }
    ~Runtime() override;

    nvinfer1::IRuntime *getPImpl() noexcept override { return this; }
    nvinfer1::ICudaEngine *deserializeCudaEngine(void const *blob, std::size_t size) noexcept override;
    nvinfer1::ILogger *getLogger() const noexcept override { return logger_; }
    void setErrorRecorder(nvinfer1::IErrorRecorder *recorder) noexcept override { recorder_ = recorder; }
    nvinfer1::IErrorRecorder *getErrorRecorder() const noexcept override { return recorder_; }
    bool setMaxThreads(int32_t most) noexcept override {
        threads_ = most;
        return most > 0;
    }
    int32_t getMaxThreads() const noexcept override { return threads_; }
    void setTemporaryDirectory(char const *path) noexcept override { directory_ = path ? path : ""; }
    char const *getTemporaryDirectory() const noexcept override { return directory_.c_str(); }
    void setTempfileControlFlags(nvinfer1::TempfileControlFlags flags) noexcept override {
        flags_ = flags;
    }
    nvinfer1::TempfileControlFlags getTempfileControlFlags() const noexcept override { return flags_; }

    // Not implemented: DLA, plugins, allocators, streamed files, deferred weights.
    nvinfer1::ICudaEngine *deserializeCudaEngineV2(nvinfer1::IStreamReaderV2 &) noexcept override {
        return nullptr;
    }
    void setDLACore(int32_t) noexcept override {}
    int32_t getDLACore() const noexcept override { return -1; }
    int32_t getNbDLACores() const noexcept override { return 0; }
    bool setDLAWorkspaceAllocationStrategy(
        nvinfer1::DLAWorkspaceAllocationStrategy) noexcept override {
        return false;
    }
    nvinfer1::DLAWorkspaceAllocationStrategy
    getDLAWorkspaceAllocationStrategy() const noexcept override {
        return {};
    }
    void setGpuAllocator(nvinfer1::IGpuAllocator *) noexcept override {}
    nvinfer1::IPluginRegistry &getPluginRegistry() noexcept override;
    void setPluginRegistryParent(nvinfer1::IPluginRegistry *) noexcept override {}
    nvinfer1::IRuntime *loadRuntime(char const *) noexcept override { return nullptr; }
    void setEngineHostCodeAllowed(bool) noexcept override {}
    bool getEngineHostCodeAllowed() const noexcept override { return false; }

  private:
    Counted counted_;
    nvinfer1::ILogger *logger_;
    std::shared_ptr<int> engines_ = std::make_shared<int>(0);
    int32_t threads_ = 1;
    std::string directory_;
    nvinfer1::TempfileControlFlags flags_ = 0;
    nvinfer1::IErrorRecorder *recorder_ = nullptr;
};

} // namespace stand_in
