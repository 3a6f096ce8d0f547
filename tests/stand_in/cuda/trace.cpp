#include "trace.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace stand_in {

std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (unsigned char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += static_cast<char>(c);
        } else if (c < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + '"';
}

Record &Record::put(const char *key, const std::string &value) { return raw(key, quoted(value)); }

Record &Record::raw(const char *key, const std::string &value) {
    line_ += line_.empty() ? "{" : ",";
    line_ += quoted(key) + ":" + value;
    return *this;
}

Trace::Trace() {
    if (const char *path = std::getenv("STAND_IN_TRACE")) {
        path_ = path;
    }
}

void Trace::write(const std::vector<std::string> &more) const {
    if (path_.empty()) {
        return;
    }
    std::string temporary = path_ + ".part";
    std::FILE *file = std::fopen(temporary.c_str(), "w");
    if (!file) {
        std::fprintf(stderr, "stand-in: the trace cannot be written to %s\n", temporary.c_str());
        return;
    }
    for (const auto *lines : {&lines_, &more}) {
        for (const std::string &line : *lines) {
            std::fprintf(file, "%s\n", line.c_str());
        }
    }
    std::fclose(file);
    std::rename(temporary.c_str(), path_.c_str());
}

std::uint64_t now() {
    using Steady = std::chrono::steady_clock;
    static const Steady::time_point start = Steady::now();
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Steady::now() - start).count());
}

} // namespace stand_in
