// Bytes that the library hands to the program.
#pragma once

#include "log.hpp"

namespace stand_in {

class HostMemory final : public nvinfer1::IHostMemory, public nvinfer1::apiv::VHostMemory {
  public:
    explicit HostMemory(std::string bytes) : counted_("TensorRT host memory"), bytes_(std::move(bytes)) {
        mImpl = this;
    }

    void *data() const noexcept override { return const_cast<char *>(bytes_.data()); }
    std::size_t size() const noexcept override { return bytes_.size(); }
    nvinfer1::DataType type() const noexcept override { return nvinfer1::DataType::kINT8; }

  private:
    Counted counted_;
    std::string bytes_;
};

} // namespace stand_in
