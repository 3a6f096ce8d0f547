#include "faults.hpp"

#include "errors.hpp"
#include "spec.hpp"

#include <stdexcept>
#include <utility>

namespace stand_in {
namespace {

// What a kind fails with unless told otherwise.
const std::map<std::string, CUresult> &defaults() {
    static const auto *results = new std::map<std::string, CUresult>{
        {"init", CUDA_ERROR_SYSTEM_DRIVER_MISMATCH},
        {"init_hang", CUDA_ERROR_UNKNOWN},
        {"alloc", CUDA_ERROR_OUT_OF_MEMORY},
        {"host_alloc", CUDA_ERROR_OUT_OF_MEMORY},
        {"stream", CUDA_ERROR_OUT_OF_MEMORY},
        {"event", CUDA_ERROR_OUT_OF_MEMORY},
        {"module", CUDA_ERROR_NO_BINARY_FOR_GPU},
        {"graph", CUDA_ERROR_OUT_OF_MEMORY},
        {"enqueue", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
        {"launch", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
        {"graph_launch", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
        {"copy", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
        {"sticky", CUDA_ERROR_ILLEGAL_ADDRESS},
        {"lost", CUDA_ERROR_UNKNOWN},
        {"hang", CUDA_ERROR_UNKNOWN},
        {"deserialize", CUDA_ERROR_UNKNOWN},
        {"context", CUDA_ERROR_UNKNOWN},
        {"trt_enqueue", CUDA_ERROR_UNKNOWN},
        {"memory_size", CUDA_ERROR_UNKNOWN},
        {"nan", CUDA_ERROR_UNKNOWN},
        {"decode", CUDA_ERROR_UNKNOWN},
        {"state", CUDA_ERROR_UNKNOWN},
    };
    return *results;
}

CUresult default_of(const std::string &kind) {
    std::size_t at = kind.find('@');
    std::string base = kind.substr(0, at);
    bool of_work = base == "sticky" || base == "lost" || base == "hang";
    auto found = defaults().find(base);
    if (found == defaults().end() ||
        (at != std::string::npos && !(of_work && is_work_kind(kind.substr(at + 1))))) {
        throw std::invalid_argument("there is no fault \"" + kind + "\"");
    }
    return found->second;
}

} // namespace

void Faults::set(const std::string &text) {
    std::vector<std::pair<std::string, Armed>> parsed;
    for (const std::string &item : split(text, ',')) {
        std::size_t colon = item.find(':');
        if (colon == std::string::npos) {
            throw std::invalid_argument("\"" + item + "\" is no fault: write KIND:N, KIND:N+ or "
                                        "KIND:N=CODE");
        }
        std::string kind = item.substr(0, colon);
        Armed armed{0, false, default_of(kind)};
        std::string rest = item.substr(colon + 1);
        std::size_t equals = rest.find('=');
        if (equals != std::string::npos) {
            armed.result = static_cast<CUresult>(number(rest.substr(equals + 1)));
            if (armed.result == CUDA_SUCCESS || !error_name(armed.result)) {
                throw std::invalid_argument("\"" + item + "\" has a result that CUDA does not know");
            }
            rest.resize(equals);
        }
        if (!rest.empty() && rest.back() == '+') {
            armed.onwards = true;
            rest.pop_back();
        }
        armed.at = number(rest);
        if (armed.at == 0) {
            throw std::invalid_argument("\"" + item + "\": occurrences are counted from 1");
        }
        parsed.emplace_back(kind, armed);
    }
    armed_.insert(parsed.begin(), parsed.end());
}

CUresult Faults::due(const std::string &kind) {
    CUresult result = CUDA_SUCCESS;
    auto [begin, end] = armed_.equal_range(kind);
    for (auto item = begin; item != end; ++item) {
        Armed &armed = item->second;
        ++armed.seen;
        if (armed.seen == armed.at || (armed.onwards && armed.seen > armed.at)) {
            result = armed.result;
        }
    }
    return result;
}

} // namespace stand_in
