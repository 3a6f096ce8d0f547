// What the stand-in's engines compute, so that a test can compute the same. The same
// functions in Rust: tests/it/common/stand_in/function.rs.
//
// All arithmetic on integers wraps at 64 bits.
//
//     mix(x):  x ^= x >> 30;  x *= 0xbf58476d1ce4e5b9;
//              x ^= x >> 27;  x *= 0x94d049bb133111eb;  x ^= x >> 31
//
// Image. A row of n values v[0..n] (FP16 ones widened to FP32) and D dimensions: with
// h = mix(i + 1), element i belongs to dimension (h >> 32) % D and has the weight
// s * (1 + (h & 0x7fffff) / 2^23) / 2, where s is -1 if bit 23 of h is set and 1 if not.
// Dimension d is the sum over its elements, in their order and in FP64, of weight times
// value; each product is exact. It is rounded to FP32 once, at the end.
//
// Image of variable resolution: the same, over the bytes of those patches of the row whose last
// byte is 1. So padding has no effect.
//
// Text. A row of n ids: h = 0; for i in 0..n, h = mix(h ^ (id[i] + 0x9e3779b97f4a7c15 * (i + 1)))
// with the id sign-extended. Dimension d is (k / 2^23) - 1 where k is the upper 24 bits of
// mix(h + 0x9e3779b97f4a7c15 * (d + 1)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stand_in {

float widen(std::uint16_t half);

class ImageFunction {
  public:
    ImageFunction(std::size_t elements, std::size_t dimensions);

    // One row. `value` gives element i.
    template <typename Value> void row(Value value, float *out) const {
        patches(1, terms_.size(), [](std::size_t) { return true; }, value, out);
    }

    // One row of `count` patches of `width` elements, without those of which `is_there` says no.
    template <typename IsThere, typename Value>
    void patches(std::size_t count, std::size_t width, IsThere is_there, Value value,
                 float *out) const {
        std::vector<double> sums(dimensions_);
        for (std::size_t patch = 0; patch < count; ++patch) {
            if (!is_there(patch)) {
                continue;
            }
            for (std::size_t i = patch * width; i < (patch + 1) * width; ++i) {
                sums[terms_[i].dimension] += terms_[i].weight * static_cast<double>(value(i));
            }
        }
        for (std::size_t d = 0; d < dimensions_; ++d) {
            out[d] = static_cast<float>(sums[d]);
        }
    }

  private:
    struct Term {
        std::uint32_t dimension;
        float weight;
    };

    std::size_t dimensions_;
    std::vector<Term> terms_;
};

// One row. `id` gives id i.
void text_row(const std::int64_t *ids, std::size_t count, float *out, std::size_t dimensions);

} // namespace stand_in
