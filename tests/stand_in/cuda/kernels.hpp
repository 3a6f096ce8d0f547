// The kernels that the stand-in can run, and what each does with its parameters.
#pragma once

#include "api.hpp"

#include <string>
#include <vector>

namespace stand_in {

// What a kernel does with the memory behind a parameter; `value` is a number.
enum class Parameter { value, reads, writes, unused };

struct Kernel {
    const char *name;
    std::vector<Parameter> parameters;
    // How wide each parameter is; pointers are 8 bytes.
    std::vector<std::size_t> bytes;
    // As resize_host_launch: 0, or 1 for what it cannot run.
    int (*run)(const char *name, const unsigned grid[3], const unsigned block[3], void **parameters);
};

// Null for a name that no kernel has.
const Kernel *find_kernel(const std::string &name);

} // namespace stand_in
