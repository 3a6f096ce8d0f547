#include "delays.hpp"

#include "spec.hpp"

#include <stdexcept>

namespace stand_in {

void Delays::set(const std::string &text) {
    Delays parsed;
    for (const std::string &item : split(text, ',')) {
        std::vector<std::string> words = split(item, ':');
        if (words.size() == 3 && words[0] == "random") {
            parsed.random_.seed(number(words[1]));
            parsed.most_ = duration(words[2]);
        } else if (words.size() == 2 && is_work_kind(words[0])) {
            Fixed fixed;
            std::vector<std::string> terms = split(words[1], '+');
            for (const std::string &term : terms) {
                constexpr std::size_t SUFFIX = 4; // "/row"
                if (term.size() > SUFFIX && term.compare(term.size() - SUFFIX, SUFFIX, "/row") == 0) {
                    fixed.row += duration(term.substr(0, term.size() - SUFFIX));
                } else {
                    fixed.base += duration(term);
                }
            }
            parsed.fixed_[words[0]] = fixed;
        } else if (!item.empty()) {
            throw std::invalid_argument("\"" + item + "\" is no delay: write KIND:300us, "
                                        "KIND:2ms+50us/row or random:SEED:2ms");
        }
    }
    *this = parsed;
}

std::chrono::nanoseconds Delays::of(const Work &work) {
    auto found = fixed_.find(work.kind);
    if (found != fixed_.end()) {
        return found->second.base + found->second.row * static_cast<std::int64_t>(work.rows);
    }
    if (most_.count() == 0) {
        return {};
    }
    return std::chrono::nanoseconds(random_() % static_cast<std::uint64_t>(most_.count() + 1));
}

} // namespace stand_in
