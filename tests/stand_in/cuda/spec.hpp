// The grammar of the settings: items separated by commas, words separated by colons, numbers with
// a unit.
#pragma once

#include "api.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace stand_in {

// The names of the kinds of work in delays, faults and the trace.
inline constexpr const char *WORK_KINDS[] = {"upload", "download", "copy",    "fill",
                                             "kernel", "infer",    "profile", "host"};

bool is_work_kind(const std::string &word);

std::vector<std::string> split(const std::string &text, char separator);

// These throw std::invalid_argument with a sentence that quotes the text.
std::uint64_t number(const std::string &text);
std::chrono::nanoseconds duration(const std::string &text); // 300us, 2ms, 1s
std::size_t bytes(const std::string &text);                 // 4096, 512MiB, 32GiB

} // namespace stand_in
