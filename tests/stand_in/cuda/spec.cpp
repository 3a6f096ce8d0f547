#include "spec.hpp"

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace stand_in {
namespace {

// The number at the start of the text; `unit` receives what follows it.
std::uint64_t leading(const std::string &text, std::string &unit) {
    std::size_t end = 0;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) {
        ++end;
    }
    if (end == 0 || end > 18) {
        throw std::invalid_argument("\"" + text + "\" has no number");
    }
    unit = text.substr(end);
    return std::stoull(text.substr(0, end));
}

} // namespace

bool is_work_kind(const std::string &word) {
    return std::any_of(std::begin(WORK_KINDS), std::end(WORK_KINDS),
                       [&](const char *kind) { return word == kind; });
}

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    while (from <= text.size()) {
        std::size_t to = std::min(text.find(separator, from), text.size());
        parts.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    return parts;
}

std::uint64_t number(const std::string &text) {
    std::string unit;
    std::uint64_t value = leading(text, unit);
    if (!unit.empty()) {
        throw std::invalid_argument("\"" + text + "\" is no whole number");
    }
    return value;
}

std::chrono::nanoseconds duration(const std::string &text) {
    std::string unit;
    auto value = static_cast<std::int64_t>(leading(text, unit));
    if (unit == "us") {
        return std::chrono::microseconds(value);
    }
    if (unit == "ms") {
        return std::chrono::milliseconds(value);
    }
    if (unit == "s") {
        return std::chrono::seconds(value);
    }
    throw std::invalid_argument("\"" + text + "\" is no duration: write 300us, 2ms or 1s");
}

std::size_t bytes(const std::string &text) {
    std::string unit;
    std::size_t value = leading(text, unit);
    if (unit.empty()) {
        return value;
    }
    if (unit == "MiB") {
        return value << 20;
    }
    if (unit == "GiB") {
        return value << 30;
    }
    throw std::invalid_argument("\"" + text + "\" is no size: write 4096, 512MiB or 32GiB");
}

} // namespace stand_in
