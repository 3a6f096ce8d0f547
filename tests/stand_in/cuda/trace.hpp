// The trace: one JSON object per line for everything that happened, in order of completion. It is
// kept in memory, and written at exit or on request.
#pragma once

#include "api.hpp"

#include <string>
#include <type_traits>
#include <vector>

namespace stand_in {

// One line of the trace.
class Record {
  public:
    explicit Record(const char *record) { put("record", std::string(record)); }

    Record &put(const char *key, const std::string &value);
    Record &put(const char *key, const char *value) { return put(key, std::string(value)); }
    template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
    Record &put(const char *key, Number value) {
        return raw(key, std::to_string(value));
    }
    // A value that is already JSON.
    Record &raw(const char *key, const std::string &value);

    std::string line() const { return line_ + "}"; }

  private:
    std::string line_;
};

std::string quoted(const std::string &text);

class Trace {
  public:
    Trace();

    void add(const Record &record) { lines_.push_back(record.line()); }
    void forget() { lines_.clear(); }
    const std::vector<std::string> &lines() const { return lines_; }

    // Writes all lines followed by `more` to a temporary file and renames it, so that a reader
    // never sees part of it. Does nothing if no path is set.
    void write(const std::vector<std::string> &more) const;

  private:
    std::string path_;
    std::vector<std::string> lines_;
};

// Nanoseconds since the library was loaded.
std::uint64_t now();

} // namespace stand_in
