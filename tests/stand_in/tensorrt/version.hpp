// The version of TensorRT that the library reports: STAND_IN_TENSORRT_VERSION, such as 1.6.0, or
// by default that of the headers it was compiled with.
#pragma once

#include <cstdint>
#include <string>

namespace stand_in {

struct Version {
    std::int32_t major;
    std::int32_t minor;
    std::int32_t patch;
};

Version version();
std::string version_text();

} // namespace stand_in
