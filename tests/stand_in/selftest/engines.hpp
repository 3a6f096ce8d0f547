// Engine files and what TensorRT makes of them, for the cases about its stand-in.
#pragma once

#include "check.hpp"

#include <NvInferRuntime.h>

#include <cstdint>
#include <memory>

// Everything that was logged.
class Log final : public nvinfer1::ILogger {
  public:
    void log(Severity, nvinfer1::AsciiChar const *text) noexcept override {
        lines += text;
        lines += "\n";
    }
    bool has(const std::string &text) const { return lines.find(text) != std::string::npos; }

    std::string lines;
};

inline std::string with_checksum(const std::string &lines) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (unsigned char c : lines) {
        hash = (hash ^ c) * 0x100000001b3;
    }
    char checksum[40];
    std::snprintf(checksum, sizeof checksum, "checksum %016llx\n",
                  static_cast<unsigned long long>(hash));
    return lines + checksum;
}

// The version of the headers, which the library has too unless told otherwise.
inline const std::string VERSION = std::to_string(NV_TENSORRT_MAJOR) + "." +
                                   std::to_string(NV_TENSORRT_MINOR) + "." +
                                   std::to_string(NV_TENSORRT_PATCH);

// Rows of 3 x 4 x 4 FP32 values to rows of 5 floats.
inline std::string image_engine(const std::string &version = VERSION,
                                const std::string &capability = "12.0") {
    return with_checksum("stand-in engine 1\ntower image\ntensorrt " + version +
                         "\ncompute_capability " + capability +
                         "\ninput pixel_values fp32 3 4 4\noutput embedding fp32 5\nprofile 1 1 1\n"
                         "profile 1 8 8\nweight_bytes 1048576\ncontext_bytes 65536\n");
}

inline std::string text_engine() {
    return with_checksum("stand-in engine 1\ntower text\ntensorrt " + VERSION +
                         "\ncompute_capability any\n"
                         "input input_ids int32 8\noutput embedding fp32 5\nprofile 1 8 8\n"
                         "weight_bytes 0\ncontext_bytes 0\n");
}

// Rows of patches of 6 bytes, two or three of them.
inline std::string patches_engine() {
    return with_checksum("stand-in engine 1\ntower image\ntensorrt " + VERSION +
                         "\ncompute_capability any\n"
                         "input patches uint8 -1 6\noutput embedding fp32 5\n"
                         "profile 1 4 4 2 2 2\nprofile 1 2 2 3 3 3\n"
                         "weight_bytes 0\ncontext_bytes 0\n");
}

struct Runtime {
    Log log;
    std::unique_ptr<nvinfer1::IRuntime> runtime{nvinfer1::createInferRuntime(log)};

    std::unique_ptr<nvinfer1::ICudaEngine> engine(const std::string &file) {
        return std::unique_ptr<nvinfer1::ICudaEngine>(
            runtime->deserializeCudaEngine(file.data(), file.size()));
    }
};

inline std::unique_ptr<nvinfer1::IExecutionContext> context(nvinfer1::ICudaEngine &engine) {
    return std::unique_ptr<nvinfer1::IExecutionContext>(engine.createExecutionContext());
}

inline nvinfer1::Dims images(std::int64_t rows) { return {4, {rows, 3, 4, 4}}; }
inline nvinfer1::Dims texts(std::int64_t rows) { return {2, {rows, 8}}; }

// The bytes of a row of images and of a row of either output.
constexpr std::size_t IMAGE = 3 * 4 * 4 * sizeof(float);
constexpr std::size_t OUTPUT = 5 * sizeof(float);
