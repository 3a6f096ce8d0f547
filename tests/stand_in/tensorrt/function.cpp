#include "function.hpp"

#include <cmath>

namespace stand_in {
namespace {

constexpr std::uint64_t STEP = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9;
    x ^= x >> 27;
    x *= 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

} // namespace

float widen(std::uint16_t half) {
    int exponent = (half >> 10) & 31;
    int fraction = half & 1023;
    float sign = half & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) {
        return fraction ? NAN : sign * INFINITY;
    }
    float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    return sign * value;
}

ImageFunction::ImageFunction(std::size_t elements, std::size_t dimensions)
    : dimensions_(dimensions), terms_(elements) {
    for (std::size_t i = 0; i < elements; ++i) {
        std::uint64_t h = mix(i + 1);
        float magnitude = (1.0f + static_cast<float>(h & 0x7fffff) / 8388608.0f) / 2.0f;
        bool negative = (h >> 23) & 1;
        terms_[i].dimension = static_cast<std::uint32_t>((h >> 32) % dimensions);
        terms_[i].weight = negative ? -magnitude : magnitude;
    }
}

void text_row(const std::int64_t *ids, std::size_t count, float *out, std::size_t dimensions) {
    std::uint64_t h = 0;
    for (std::size_t i = 0; i < count; ++i) {
        h = mix(h ^ (static_cast<std::uint64_t>(ids[i]) + STEP * (i + 1)));
    }
    for (std::size_t d = 0; d < dimensions; ++d) {
        std::uint64_t k = mix(h + STEP * (d + 1)) >> 40;
        out[d] = static_cast<float>(k) / 8388608.0f - 1.0f;
    }
}

} // namespace stand_in
