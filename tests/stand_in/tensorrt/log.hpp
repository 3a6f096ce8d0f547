// Writes to the program's logger, as TensorRT does when it refuses something.
#pragma once

#include "../cuda/stand_in.hpp"

#include <NvInferRuntime.h>

#include <string>

namespace stand_in {

inline void log_error(nvinfer1::ILogger *logger, const std::string &text) {
    if (logger) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, text.c_str());
    }
}

// Counts the live objects of a class, for the list of leaks.
class Counted {
  public:
    explicit Counted(const char *what) : what_(what) { living(what_, 1); }
    ~Counted() { living(what_, -1); }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;

  private:
    const char *what_;
};

} // namespace stand_in
