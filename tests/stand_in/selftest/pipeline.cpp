// Batches through slots, as a runtime overlaps them: a copy stream and a compute stream per
// slot, and events between them. With random times for everything the answers stay right, and
// the trace shows that they overlapped.

#include "engines.hpp"

#include "../tensorrt/function.hpp"

struct Slot {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    CUstream copy = stream(), compute = stream();
    CUevent uploaded = event(), computed = event(), finished = event();
    CUdeviceptr input = device_numbers(8 * IMAGE / 4), output = device_numbers(8 * OUTPUT / 4);
    float *pixels = reinterpret_cast<float *>(pinned_numbers(8 * IMAGE / 4));
    float *embeddings = reinterpret_cast<float *>(pinned_numbers(8 * OUTPUT / 4));
    unsigned batch = 0;
    bool busy = false;

    explicit Slot(nvinfer1::ICudaEngine &engine) : context(::context(engine)) {
        CHECK(context->setOptimizationProfileAsync(1, reinterpret_cast<cudaStream_t>(compute)));
        CHECK(context->setTensorAddress("pixel_values", reinterpret_cast<void *>(input)));
        CHECK(context->setTensorAddress("embedding", reinterpret_cast<void *>(output)));
    }
    ~Slot() {
        for (CUdeviceptr memory : {input, output}) {
            cuMemFree_v2(memory);
        }
        cuMemFreeHost(pixels);
        cuMemFreeHost(embeddings);
        for (CUevent each : {uploaded, computed, finished}) {
            cuEventDestroy_v2(each);
        }
        cuStreamDestroy_v2(copy);
        cuStreamDestroy_v2(compute);
    }

    static float pixel(unsigned batch, std::size_t i) {
        return static_cast<float>((batch * 31 + i * 17) % 256) / 127.5f - 1;
    }
    std::size_t rows() const { return 1 + batch % 8; }

    void submit(unsigned number) {
        batch = number;
        busy = true;
        for (std::size_t i = 0; i < rows() * IMAGE / 4; ++i) {
            pixels[i] = pixel(batch, i);
        }
        auto rows_wide = static_cast<std::int64_t>(rows());
        OK(cuMemcpyHtoDAsync_v2(input, pixels, rows() * IMAGE, copy));
        OK(cuEventRecord(uploaded, copy));
        OK(cuStreamWaitEvent(compute, uploaded, 0));
        CHECK(context->setInputShape("pixel_values", images(rows_wide)));
        CHECK(context->enqueueV3(reinterpret_cast<cudaStream_t>(compute)));
        OK(cuEventRecord(computed, compute));
        OK(cuStreamWaitEvent(copy, computed, 0));
        OK(cuMemcpyDtoHAsync_v2(embeddings, output, rows() * OUTPUT, copy));
        OK(cuEventRecord(finished, copy));
    }

    void collect() {
        if (!busy) {
            return;
        }
        OK(cuEventSynchronize(finished));
        busy = false;
        stand_in::ImageFunction function(IMAGE / 4, 5);
        std::vector<float> wanted(5);
        for (std::size_t row = 0; row < rows(); ++row) {
            function.row([&](std::size_t i) { return pixel(batch, row * IMAGE / 4 + i); },
                         wanted.data());
            for (std::size_t d = 0; d < 5; ++d) {
                EQUAL(embeddings[row * 5 + d], wanted[d]);
            }
        }
    }
};

static void run_batches(const char *delays, unsigned batches) {
    {
        Gpu gpu;
        CHECK(control(delays).empty());
        Runtime runtime;
        auto engine = runtime.engine(image_engine());
        {
            std::vector<std::unique_ptr<Slot>> slots;
            for (int i = 0; i < 3; ++i) {
                slots.push_back(std::make_unique<Slot>(*engine));
            }
            for (unsigned batch = 0; batch < batches; ++batch) {
                Slot &slot = *slots[batch % slots.size()];
                slot.collect();
                slot.submit(batch);
            }
            for (auto &slot : slots) {
                slot->collect();
            }
        }
    }
    EQUAL(traced("\"record\":\"race\""), 0);
    EQUAL(traced("\"record\":\"misuse\""), 0);
    EQUAL(static_cast<unsigned>(traced("\"kind\":\"infer\"")), batches);
    EQUAL(leaks(), 0);
}

CASE(batches_with_random_delays) {
    for (int seed = 0; seed < 10; ++seed) {
        run_batches(("delay random:" + std::to_string(seed) + ":3ms").c_str(), 60);
        // The next round counts its own.
        CHECK(control("forget").empty());
    }
}

// The number behind a key in a line of the trace.
static unsigned long long field(const std::string &line, const std::string &key) {
    std::size_t at = line.find("\"" + key + "\":");
    CHECK(at != std::string::npos);
    return std::strtoull(line.c_str() + at + key.size() + 3, nullptr, 10);
}

// The next batch's upload begins before the inference of the one before it has ended.
CASE(uploads_overlap_inferences) {
    run_batches("delay infer:20ms,upload:5ms", 6);
    std::string trace = control("trace");
    std::vector<unsigned long long> uploads, inferences;
    for (std::size_t at = 0, end; (end = trace.find('\n', at)) != std::string::npos; at = end + 1) {
        std::string line = trace.substr(at, end - at);
        if (line.find("\"kind\":\"upload\"") != std::string::npos) {
            uploads.push_back(field(line, "begin"));
        }
        if (line.find("\"kind\":\"infer\"") != std::string::npos) {
            inferences.push_back(field(line, "end"));
        }
    }
    EQUAL(uploads.size(), 6u);
    CHECK(uploads[1] < inferences[0]);
    CHECK(uploads[2] < inferences[0]);
    // There are three slots: the fourth batch had to wait for the first.
    CHECK(uploads[3] > inferences[0]);
}
