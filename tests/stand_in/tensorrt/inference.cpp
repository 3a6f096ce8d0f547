#include "inference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace stand_in {
namespace {

template <typename Value> Value value_at(const void *from, std::size_t index) {
    Value value;
    std::memcpy(&value, static_cast<const char *>(from) + index * sizeof value, sizeof value);
    return value;
}

// One row of images: FP16 or FP32 values, or the bytes of patches.
void image_row(const ImageFunction &function, const Tensor &tensor, std::int64_t patches,
               const void *input, float *out) {
    if (tensor.has_patches()) {
        auto width = static_cast<std::size_t>(tensor.row[1]);
        auto byte = [&](std::size_t i) { return value_at<std::uint8_t>(input, i); };
        function.patches(
            static_cast<std::size_t>(patches), width,
            [&](std::size_t patch) { return byte((patch + 1) * width - 1) == 1; }, byte, out);
    } else if (tensor.type == "fp16") {
        function.row([&](std::size_t i) { return widen(value_at<std::uint16_t>(input, i)); }, out);
    } else {
        function.row([&](std::size_t i) { return value_at<float>(input, i); }, out);
    }
}

std::vector<std::int64_t> ids_of(const Tensor &tensor, const void *input) {
    std::vector<std::int64_t> ids(tensor.row_elements());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = tensor.type == "int64" ? value_at<std::int64_t>(input, i)
                                        : value_at<std::int32_t>(input, i);
    }
    return ids;
}

// Adds a share of a row's own reverse to it.
void spoil(float *row, std::size_t dimensions, float share) {
    if (share == 0) {
        return;
    }
    std::vector<float> reverse(row, row + dimensions);
    std::reverse(reverse.begin(), reverse.end());
    for (std::size_t d = 0; d < dimensions; ++d) {
        row[d] += share * reverse[d];
    }
}

} // namespace

Compute compute(const Engine &engine, std::size_t rows, std::int64_t patches, std::size_t slot) {
    // It may run after the engine has been destroyed.
    float share = 0;
    for (const Wrong &wrong : engine.file().wrong) {
        if (wrong.is_of(static_cast<std::int64_t>(rows), patches, slot)) {
            share = wrong.share;
        }
    }
    auto function = engine.image_function();
    Tensor in = engine.file().input;
    std::size_t dimensions = engine.file().output.row_elements();
    return [=](const void *input, void *output) {
        std::vector<float> out(rows * dimensions);
        for (std::size_t row = 0; row < rows; ++row) {
            const char *row_in = static_cast<const char *>(input) + row * in.row_bytes(patches);
            float *row_out = out.data() + row * dimensions;
            if (function) {
                image_row(*function, in, patches, row_in, row_out);
            } else {
                std::vector<std::int64_t> ids = ids_of(in, row_in);
                text_row(ids.data(), ids.size(), row_out, dimensions);
            }
            spoil(row_out, dimensions, share);
        }
        if (fault("nan") != CUDA_SUCCESS) {
            out.assign(out.size(), NAN);
        }
        std::memcpy(output, out.data(), out.size() * sizeof(float));
    };
}

} // namespace stand_in
