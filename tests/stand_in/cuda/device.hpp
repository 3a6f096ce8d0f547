// The GPUs that the driver reports.
//
//     STAND_IN_GPUS=NVIDIA GeForce RTX 5090:12.0:32607MiB,NVIDIA L4:8.9:23034MiB
//
// Name, compute capability, memory; `none` for a machine with a driver but no GPU. The default is
// one GeForce RTX 5090.
#pragma once

#include "driver.hpp"

namespace stand_in {

// Both throw std::invalid_argument.
std::unique_ptr<Device> parse_device(const std::string &text);
std::vector<std::unique_ptr<Device>> parse_devices(const std::string &text);

} // namespace stand_in
