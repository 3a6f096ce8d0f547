// One inference as a work: the engine's function of each row.
#pragma once

#include "engine.hpp"

namespace stand_in {

Work inference(const Engine &engine, const void *input, void *output, std::size_t rows);

} // namespace stand_in
