// TensorRT comes as two products, whose interfaces are one but for a few functions. What the
// library implements of either, beyond what they share, is in rtx.hpp and standard.hpp, under
// the same names; which of them it is, the headers say that it is compiled with.
#pragma once

#include "log.hpp"

#ifdef TRT_MAJOR_RTX
#include "rtx.hpp"
#else
#include "standard.hpp"
#endif
