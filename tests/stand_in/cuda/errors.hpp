// The driver's results, by number.
#pragma once

#include "api.hpp"

namespace stand_in {

// Null if CUDA has no such result.
const char *error_name(CUresult result);
const char *error_text(CUresult result);

} // namespace stand_in
