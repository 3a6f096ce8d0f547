// The stand-in's engine files: lines of words, so that a test can write one.
//
//     stand-in engine 1
//     tower image                             (image or text)
//     tensorrt 1.7.1                          (the version that built it, and alone runs it)
//     compute_capability 12.0                 (or several, or `any`)
//     input pixel_values fp16 3 224 224       (name, type, the dimensions of one row)
//     output embedding fp32 768
//     profile 1 1 1                           (rows: least, best, most; one line each)
//     profile 1 64 64
//     weight_bytes 1048576                    (device memory that the engine takes)
//     context_bytes 65536                     (device memory that each context takes)
//     allocation user                         (contexts compute in the program's memory only)
//     wrong 4 2 1 0                           (a fault: see `Wrong`)
//     checksum 0123456789abcdef               (FNV-1a, 64 bits, of all lines before it)
//
// An image engine takes fp16 or fp32, a text engine int32 or int64 ids. An image engine of variable
// resolution has rows of patches, and a profile says how many: least, best, most.
//
//     input patches uint8 -1 777
//     profile 1 64 64 256 256 256
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace stand_in {

struct Tensor {
    std::string name;
    std::string type;
    std::vector<std::int64_t> row;

    // Whether a row has patches, whose number differs from batch to batch.
    bool has_patches() const { return !row.empty() && row[0] == -1; }
    // Of a row with so many patches, if it has any.
    std::size_t row_elements(std::int64_t patches = 1) const;
    std::size_t row_bytes(std::int64_t patches = 1) const;
};

// Least, best and most: of rows, and of the patches of each (1 where there are none).
struct ProfileSizes {
    std::array<std::int64_t, 3> rows;
    std::array<std::int64_t, 3> patches;
};

// Batches of so many rows have wrong results in this slot, if their rows have so many patches; 0 is
// any number of rows, any slot, or any number of patches.
// Slots are counted from 1, by the streams that the engine is used in. To each vector so much of
// its own reverse is added: 1 spoils it, 0.02 lowers its cosine by 2e-4.
struct Wrong {
    std::int64_t rows = 0;
    std::size_t slot = 0;
    float share = 0;
    std::int64_t patches = 0;

    bool is_of(std::int64_t batch, std::int64_t each, std::size_t in) const {
        return (rows == 0 || rows == batch) && (slot == 0 || slot == in) &&
               (patches == 0 || patches == each);
    }
};

struct EngineFile {
    bool image = false;
    std::string tensorrt;
    std::vector<std::string> compute_capabilities;
    Tensor input;
    Tensor output;
    std::vector<ProfileSizes> profiles;
    std::size_t weight_bytes = 0;
    std::size_t context_bytes = 0;
    // The file itself.
    std::string text;

    // Built with kREQUIRE_USER_ALLOCATION.
    bool user_allocation = false;
    std::vector<Wrong> wrong;

    std::int64_t most_rows() const;
    std::int64_t most_patches() const;
};

// Throws std::invalid_argument with a sentence that says what is wrong with the file.
EngineFile parse_engine(const std::string &text);

} // namespace stand_in
