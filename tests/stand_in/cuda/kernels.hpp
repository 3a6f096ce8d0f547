// The kernels that the stand-in can run, and how each uses its parameters.
#pragma once

#include "api.hpp"

#include <string>
#include <vector>

namespace stand_in {

// How a kernel accesses the memory that a parameter points to; `value` is a plain number.
enum class Parameter { value, reads, writes, unused };

struct Kernel {
    const char *name;
    std::vector<Parameter> parameters;
    // The width of each parameter; pointers have 8 bytes.
    std::vector<std::size_t> bytes;
    // As resize_host_launch: returns 0, or 1 if it cannot run this launch.
    int (*run)(const char *name, const unsigned grid[3], const unsigned block[3], void **parameters);
};

// Null if no kernel has this name.
const Kernel *find_kernel(const std::string &name);

} // namespace stand_in
