// A decoder of baseline JPEG files, for the stand-in for nvJPEG: no other format, no tricks, and
// chroma repeated instead of interpolated, so that its pixels differ from libjpeg's as nvJPEG's do.
// ITU-T T.81.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stand_in {

struct Picture {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> rgb;
};

// What a file's header says; false if it is not one of these files.
bool read_header(const std::uint8_t *file, std::size_t bytes, int *width, int *height);

// Decodes a file; false if it is damaged, or of another kind.
bool decode(const std::uint8_t *file, std::size_t bytes, Picture *into);

} // namespace stand_in
