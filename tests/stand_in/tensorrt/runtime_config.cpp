#include "runtime_config.hpp"

#include "host_memory.hpp"

#include <cstdio>
#include <cstring>

namespace stand_in {

// A line of text: how many contexts were made with the cache.
static constexpr const char *FORMAT = "stand-in runtime cache %u\n";

nvinfer1::IHostMemory *RuntimeCache::serialize() const noexcept {
    char text[64];
    std::snprintf(text, sizeof text, FORMAT, entries_);
    return new HostMemory(text);
}

bool RuntimeCache::deserialize(void const *blob, size_t size) noexcept {
    std::string text(static_cast<const char *>(blob), size);
    unsigned entries = 0;
    if (std::sscanf(text.c_str(), FORMAT, &entries) != 1) {
        return false;
    }
    entries_ = entries;
    return true;
}

bool RuntimeCache::reset() noexcept {
    entries_ = 0;
    return true;
}

} // namespace stand_in
