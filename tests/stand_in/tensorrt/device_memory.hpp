// What the library needs of the CUDA driver besides streams.
#pragma once

#include "../cuda/calls.hpp"

namespace stand_in {

// The driver's text for a result.
inline const char *words_of(CUresult result) {
    const char *text = nullptr;
    cuGetErrorString(result, &text);
    return text ? text : "an error that CUDA does not know";
}

// Device memory that is freed with its owner.
class DeviceMemory {
  public:
    DeviceMemory() = default;
    ~DeviceMemory() { cuMemFree_v2(address_); }
    DeviceMemory(const DeviceMemory &) = delete;
    DeviceMemory &operator=(const DeviceMemory &) = delete;

    CUresult allocate(std::size_t bytes) {
        bytes_ = bytes;
        return bytes == 0 ? CUDA_SUCCESS : cuMemAlloc_v2(&address_, bytes);
    }
    CUdeviceptr begin() const { return address_; }
    CUdeviceptr end() const { return address_ + bytes_; }

  private:
    CUdeviceptr address_ = 0;
    std::size_t bytes_ = 0;
};

} // namespace stand_in
