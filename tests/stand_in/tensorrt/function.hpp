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
// Image of variable resolution: the same, over the bytes of the row's patches, where every byte of
// a patch whose last byte is not 1 counts as 0. So padding has no effect.
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

    // One row of `count` elements, at most as many as it was made for. `value` gives element i.
    template <typename Value> void row(std::size_t count, Value value, float *out) const {
        std::vector<double> sums(dimensions_);
        for (std::size_t i = 0; i < count; ++i) {
            sums[terms_[i].dimension] += terms_[i].weight * static_cast<double>(value(i));
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
