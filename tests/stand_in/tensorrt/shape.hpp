// The dimensions of a tensor, as TensorRT gives them.
#pragma once

#include "engine_file.hpp"

#include <NvInferRuntime.h>

namespace stand_in {

// The shape of a tensor that does not exist.
inline constexpr nvinfer1::Dims NO_SHAPE{-1, {}};

// With this many rows, and patches if it has any; -1 for any number.
inline nvinfer1::Dims shape(const Tensor &tensor, std::int64_t rows, std::int64_t patches = -1) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(tensor.row.size()) + 1;
    dims.d[0] = rows;
    for (std::size_t i = 0; i < tensor.row.size(); ++i) {
        dims.d[i + 1] = tensor.row[i] == -1 ? patches : tensor.row[i];
    }
    return dims;
}

} // namespace stand_in
