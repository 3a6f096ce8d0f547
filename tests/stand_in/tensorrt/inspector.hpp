// What an engine says about itself.
#pragma once

#include "log.hpp"

namespace stand_in {

class Inspector final : public nvinfer1::IEngineInspector, public nvinfer1::apiv::VEngineInspector {
  public:
    explicit Inspector(std::string text) : counted_("TensorRT engine inspector"), text_(std::move(text)) {
        mImpl = this;
    }

    nvinfer1::IEngineInspector *getPImpl() noexcept override { return this; }
    bool setExecutionContext(nvinfer1::IExecutionContext const *context) noexcept override {
        context_ = context;
        return true;
    }
    nvinfer1::IExecutionContext const *getExecutionContext() const noexcept override { return context_; }
    char const *getLayerInformation(int32_t,
                                    nvinfer1::LayerInformationFormat) const noexcept override {
        return text_.c_str();
    }
    char const *getEngineInformation(nvinfer1::LayerInformationFormat) const noexcept override {
        return text_.c_str();
    }
    void setErrorRecorder(nvinfer1::IErrorRecorder *recorder) noexcept override { recorder_ = recorder; }
    nvinfer1::IErrorRecorder *getErrorRecorder() const noexcept override { return recorder_; }

  private:
    Counted counted_;
    std::string text_;
    nvinfer1::IExecutionContext const *context_ = nullptr;
    nvinfer1::IErrorRecorder *recorder_ = nullptr;
};

} // namespace stand_in
