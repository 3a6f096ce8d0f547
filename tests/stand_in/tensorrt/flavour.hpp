// TensorRT comes as two products, whose interfaces differ in a few functions. What the library
// implements beyond the shared ones is in rtx.hpp and standard.hpp, under the same names; the
// headers that it is compiled with determine which of the two is used.
#pragma once

#include "log.hpp"

#ifdef TRT_MAJOR_RTX
#include "rtx.hpp"
#else
#include "standard.hpp"
#endif
