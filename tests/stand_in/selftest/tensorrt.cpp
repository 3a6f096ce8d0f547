// TensorRT's stand-in: what an engine computes, and what it refuses.

#include "engines.hpp"

#include "../tensorrt/function.hpp"

#include <cmath>

// A context for up to 8 rows, with its tensors on the device.
struct Inference {
    Gpu gpu;
    Runtime runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine = runtime.engine(image_engine());
    std::unique_ptr<nvinfer1::IExecutionContext> one = context(*engine);
    CUstream s = stream();
    CUdeviceptr input = device_numbers(8 * IMAGE / 4), output = device_numbers(8 * OUTPUT / 4);

    Inference() {
        CHECK(one->setOptimizationProfileAsync(1, reinterpret_cast<cudaStream_t>(s)));
        CHECK(one->setTensorAddress("pixel_values", reinterpret_cast<void *>(input)));
        CHECK(one->setTensorAddress("embedding", reinterpret_cast<void *>(output)));
        // So that other streams may use the context too.
        OK(cuStreamSynchronize(s));
    }

    std::vector<float> run(const std::vector<float> &values) {
        auto rows = static_cast<std::int64_t>(values.size() * sizeof(float) / IMAGE);
        OK(cuMemcpyHtoDAsync_v2(input, values.data(), values.size() * sizeof(float), s));
        CHECK(one->setInputShape("pixel_values", images(rows)));
        CHECK(one->enqueueV3(reinterpret_cast<cudaStream_t>(s)));
        std::vector<float> out(static_cast<std::size_t>(rows) * 5);
        OK(cuMemcpyDtoHAsync_v2(out.data(), output, out.size() * sizeof(float), s));
        OK(cuStreamSynchronize(s));
        return out;
    }
};

static std::vector<float> picture(unsigned seed, std::size_t rows = 1) {
    std::vector<float> values(rows * IMAGE / sizeof(float));
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>((i * 7919 + seed * 104729) % 255) / 127.5f - 1;
    }
    return values;
}

CASE(every_value_counts) {
    Inference inference;
    std::vector<float> values = picture(1), first = inference.run(values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::vector<float> other = values;
        other[i] += 0.125f;
        CHECK(inference.run(other) != first);
    }
    CHECK(inference.run(values) == first);
}

CASE(rows_do_not_depend_on_each_other) {
    Inference inference;
    std::vector<float> eight = picture(2, 8), together = inference.run(eight);
    for (std::size_t row = 0; row < 8; ++row) {
        auto from = eight.begin() + static_cast<std::ptrdiff_t>(row * 48);
        std::vector<float> alone = inference.run({from, from + 48});
        for (std::size_t d = 0; d < 5; ++d) {
            EQUAL(alone[d], together[row * 5 + d]);
        }
    }
}

CASE(texts_depend_on_every_id) {
    Gpu gpu;
    Runtime runtime;
    auto engine = runtime.engine(text_engine());
    auto one = context(*engine);
    CUdeviceptr input = device_numbers(8), output = device_numbers(5);
    CHECK(one->setInputShape("input_ids", texts(1)));
    CHECK(one->setTensorAddress("input_ids", reinterpret_cast<void *>(input)));
    CHECK(one->setTensorAddress("embedding", reinterpret_cast<void *>(output)));
    auto run = [&](std::vector<int> ids) {
        std::vector<float> out(5);
        OK(cuMemcpyHtoD_v2(input, ids.data(), 32));
        CHECK(one->enqueueV3(nullptr));
        OK(cuMemcpyDtoH_v2(out.data(), output, OUTPUT));
        return out;
    };
    std::vector<float> first = run({1, 2, 3, 4, 5, 6, 7, 8});
    CHECK(first == run({1, 2, 3, 4, 5, 6, 7, 8}));
    CHECK(first != run({2, 1, 3, 4, 5, 6, 7, 8}));
    CHECK(first != run({1, 2, 3, 4, 5, 6, 7, 9}));
    CHECK(first != run({1, 2, 3, 4, 5, 6, 7, -8}));
    for (float value : first) {
        CHECK(std::fabs(value) <= 1);
    }
}

CASE(engines_that_are_refused) {
    Runtime runtime;
    CHECK(!runtime.engine(image_engine()));
    CHECK(runtime.log.has("CUDA is not ready"));
    Gpu gpu;
    CHECK(runtime.engine(image_engine()));
    std::string broken = image_engine();
    broken[60] ^= 1;
    std::string half = image_engine().substr(0, 100);
    struct {
        std::string file;
        const char *why;
    } refused[] = {{broken, "its checksum is wrong"},
                   {half, "not the whole of one"},
                   {"", "it is no engine"},
                   {image_engine("1.6.0"), "was built with TensorRT 1.6.0"},
                   {image_engine(VERSION, "8.9"), "not built for this GPU's compute capability 12.0"}};
    for (const auto &[file, why] : refused) {
        runtime.log.lines.clear();
        CHECK(!runtime.engine(file));
        CHECK(runtime.log.has(why));
    }
    EQUAL(leaks("device memory"), 0);
}

CASE(what_a_context_refuses) {
    Inference inference;
    nvinfer1::IExecutionContext &one = *inference.one;
    Log &log = inference.runtime.log;
    CHECK(!one.enqueueV3(nullptr));
    CHECK(log.has("the shape of the input was not set"));
    CHECK(!one.setInputShape("pixel_values", images(9)));
    CHECK(log.has("9 rows are outside profile 1, which has 1 to 8"));
    CHECK(!one.setInputShape("pixel_values", {4, {1, 3, 4, 5}}));
    CHECK(!one.setInputShape("paper", images(1)));
    CHECK(one.setOptimizationProfileAsync(0, nullptr));
    CHECK(!one.setInputShape("pixel_values", images(2)));
    CHECK(one.setInputShape("pixel_values", images(1)));
    CHECK(!one.setOptimizationProfileAsync(2, nullptr));
    CHECK(!one.setTensorAddress("embedding", reinterpret_cast<void *>(inference.output + 4)));
    CHECK(log.has("not aligned to 256 bytes"));
    CHECK(!one.setTensorAddress("paper", nullptr));
    auto fresh = context(*inference.engine);
    CHECK(fresh->setInputShape("pixel_values", images(1)));
    CHECK(!fresh->enqueueV3(nullptr));
    CHECK(log.has("a tensor has no address"));
}

CASE(an_output_that_is_too_small) {
    Inference inference;
    CHECK(inference.one->setTensorAddress(
        "embedding", reinterpret_cast<void *>(device_numbers(8 * OUTPUT / 4 - 1))));
    CHECK(inference.one->setInputShape("pixel_values", images(8)));
    CHECK(inference.one->enqueueV3(nullptr));
    EQUAL(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(traced("4 bytes past the end"), 1);
}

CASE(one_context_in_two_streams) {
    Inference inference;
    CHECK(inference.one->setInputShape("pixel_values", images(1)));
    CHECK(inference.one->enqueueV3(reinterpret_cast<cudaStream_t>(inference.s)));
    inference.one->setTensorAddress("embedding", reinterpret_cast<void *>(device_numbers(5)));
    CHECK(!inference.one->enqueueV3(reinterpret_cast<cudaStream_t>(stream())));
    EQUAL(traced("\"record\":\"race\""), 1);
}

CASE(two_contexts_in_two_streams) {
    Inference inference;
    auto two = context(*inference.engine);
    CHECK(two->setTensorAddress("pixel_values", reinterpret_cast<void *>(inference.input)));
    CHECK(two->setTensorAddress("embedding", reinterpret_cast<void *>(device_numbers(5))));
    for (auto *each : {inference.one.get(), two.get()}) {
        CHECK(each->setInputShape("pixel_values", images(1)));
        CHECK(each->enqueueV3(reinterpret_cast<cudaStream_t>(stream())));
    }
}

// Contexts that compute in memory of the program's.
struct UserManaged : Inference {
    std::unique_ptr<nvinfer1::IRuntimeConfig> config{engine->createRuntimeConfig()};

    std::unique_ptr<nvinfer1::IExecutionContext> of(std::int64_t rows) {
        config->setExecutionContextAllocationStrategy(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
        std::unique_ptr<nvinfer1::IExecutionContext> made(
            engine->createExecutionContext(config.get()));
        CHECK(made->setOptimizationProfileAsync(1, reinterpret_cast<cudaStream_t>(s)));
        EQUAL(made->updateDeviceMemorySizeForShapes(), 0u);
        CHECK(made->setInputShape("pixel_values", images(rows)));
        CHECK(made->setTensorAddress("pixel_values", reinterpret_cast<void *>(input)));
        CHECK(made->setTensorAddress("embedding", reinterpret_cast<void *>(device_numbers(40))));
        OK(cuStreamSynchronize(s));
        return made;
    }
};

CASE(memory_of_the_programs) {
    UserManaged inference;
    int before = leaks("device memory");
    auto one = inference.of(1), eight = inference.of(8);
    // The two embeddings, and nothing for the contexts.
    EQUAL(leaks("device memory"), before + 2);
    auto s = reinterpret_cast<cudaStream_t>(inference.s);
    CHECK(!one->enqueueV3(s));
    CHECK(inference.runtime.log.has("less device memory than its 8192 bytes"));
    EQUAL(one->updateDeviceMemorySizeForShapes(), 65536u / 8);
    EQUAL(eight->updateDeviceMemorySizeForShapes(), 65536u);
    auto block = reinterpret_cast<void *>(device_numbers(65536 / 4));
    one->setDeviceMemoryV2(block, 65536);
    eight->setDeviceMemoryV2(block, 65535);
    CHECK(!eight->enqueueV3(s));
    eight->setDeviceMemoryV2(block, 65536);
    // One after the other they may share it.
    CHECK(one->enqueueV3(s));
    CHECK(eight->enqueueV3(s));
}

CASE(two_contexts_in_the_same_memory_at_the_same_time) {
    UserManaged inference;
    auto one = inference.of(1), two = inference.of(1);
    auto block = reinterpret_cast<void *>(device_numbers(65536 / 4));
    one->setDeviceMemoryV2(block, 65536);
    two->setDeviceMemoryV2(block, 65536);
    CHECK(one->enqueueV3(reinterpret_cast<cudaStream_t>(inference.s)));
    CHECK(!two->enqueueV3(reinterpret_cast<cudaStream_t>(stream())));
    EQUAL(traced("\"record\":\"race\""), 1);
}

CASE(a_context_that_must_compute_in_the_programs_memory) {
    Gpu gpu;
    Runtime runtime;
    std::string lines = image_engine();
    lines.resize(lines.rfind("checksum "));
    auto engine = runtime.engine(with_checksum(lines + "allocation user\n"));
    CHECK(!context(*engine));
    CHECK(runtime.log.has("kREQUIRE_USER_ALLOCATION"));
    std::unique_ptr<nvinfer1::IRuntimeConfig> config(engine->createRuntimeConfig());
    auto make = [&] {
        return std::unique_ptr<nvinfer1::IExecutionContext>(
            engine->createExecutionContext(config.get()));
    };
    CHECK(!make());
    config->setExecutionContextAllocationStrategy(
        nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    CHECK(make());
}

CASE(an_engine_that_is_wrong_in_one_place) {
    Gpu gpu;
    Runtime runtime;
    std::string lines = image_engine();
    lines.resize(lines.rfind("checksum "));
    auto right = runtime.engine(image_engine());
    auto wrong = runtime.engine(with_checksum(lines + "wrong 2 2 1\n"));
    CUstream streams[] = {stream(), stream()};
    CUdeviceptr input = device_numbers(8 * IMAGE / 4);
    std::vector<float> values = picture(6, 8);
    OK(cuMemcpyHtoD_v2(input, values.data(), values.size() * sizeof(float)));
    auto run = [&](nvinfer1::ICudaEngine &engine, std::size_t rows, CUstream s) {
        auto one = context(engine);
        CUdeviceptr output = device_numbers(8 * OUTPUT / 4);
        CHECK(one->setOptimizationProfileAsync(1, reinterpret_cast<cudaStream_t>(s)));
        CHECK(one->setInputShape("pixel_values", images(static_cast<std::int64_t>(rows))));
        CHECK(one->setTensorAddress("pixel_values", reinterpret_cast<void *>(input)));
        CHECK(one->setTensorAddress("embedding", reinterpret_cast<void *>(output)));
        CHECK(one->enqueueV3(reinterpret_cast<cudaStream_t>(s)));
        OK(cuStreamSynchronize(s));
        std::vector<float> out(rows * 5);
        OK(cuMemcpyDtoH_v2(out.data(), output, out.size() * sizeof(float)));
        return out;
    };
    for (std::size_t slot : {0u, 1u}) {
        for (std::size_t rows : {1u, 2u, 3u}) {
            bool same = run(*right, rows, streams[slot]) == run(*wrong, rows, streams[slot]);
            EQUAL(same, !(slot == 1 && rows == 2));
        }
    }
}

CASE(padding_has_no_effect_on_rows_of_patches) {
    Gpu gpu;
    Runtime runtime;
    auto engine = runtime.engine(patches_engine());
    nvinfer1::Dims any = engine->getTensorShape("patches");
    EQUAL(any.nbDims, 3);
    CHECK(any.d[0] == -1 && any.d[1] == -1 && any.d[2] == 6);
    CHECK(engine->getTensorDataType("patches") == nvinfer1::DataType::kUINT8);
    CUstream s = stream();
    // Two rows; the bytes of padding are all but the last of a patch.
    auto run = [&](int32_t profile, std::int64_t patches, std::vector<unsigned char> bytes) {
        auto one = context(*engine);
        CUdeviceptr input = device_numbers(16), output = device_numbers(2 * 5);
        OK(cuMemcpyHtoD_v2(input, bytes.data(), bytes.size()));
        CHECK(one->setOptimizationProfileAsync(profile, reinterpret_cast<cudaStream_t>(s)));
        CHECK(one->setInputShape("patches", {3, {2, patches, 6}}));
        CHECK(!one->setInputShape("patches", {3, {2, 5 - patches, 6}}));
        CHECK(runtime.log.has("patches are outside profile"));
        CHECK(one->setTensorAddress("patches", reinterpret_cast<void *>(input)));
        CHECK(one->setTensorAddress("embedding", reinterpret_cast<void *>(output)));
        CHECK(one->enqueueV3(reinterpret_cast<cudaStream_t>(s)));
        OK(cuStreamSynchronize(s));
        std::vector<float> out(2 * 5);
        OK(cuMemcpyDtoH_v2(out.data(), output, out.size() * sizeof(float)));
        return out;
    };
    std::vector<float> two = run(0, 2, {1, 2, 3, 4, 5, 1, 6, 7, 8, 9, 9, 1, //
                                        5, 4, 3, 2, 1, 1, 7, 7, 7, 7, 7, 0});
    std::vector<float> three = run(1, 3, {1, 2, 3, 4, 5, 1, 6, 7, 8, 9, 9, 1, 8, 8, 8, 8, 8, 0, //
                                          5, 4, 3, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    CHECK(two == three);
    std::vector<float> other = run(0, 2, {1, 2, 3, 4, 5, 1, 6, 7, 8, 9, 9, 1, //
                                          5, 4, 3, 2, 1, 1, 7, 7, 7, 7, 7, 1});
    CHECK(two != other);
}

// An inference in a graph reads what its input holds when the graph is launched.
CASE(an_inference_in_a_graph) {
    Inference inference;
    std::vector<float> first = inference.run(picture(3)), second = inference.run(picture(4));
    auto s = reinterpret_cast<cudaStream_t>(inference.s);
    CUgraph graph;
    CUgraphExec exec;
    OK(cuStreamBeginCapture_v2(inference.s, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK(inference.one->enqueueV3(s));
    OK(cuStreamEndCapture(inference.s, &graph));
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (unsigned seed : {3u, 4u}) {
        std::vector<float> values = picture(seed), out(5);
        OK(cuMemcpyHtoDAsync_v2(inference.input, values.data(), IMAGE, inference.s));
        OK(cuGraphLaunch(exec, inference.s));
        OK(cuMemcpyDtoHAsync_v2(out.data(), inference.output, OUTPUT, inference.s));
        CHECK(out == (seed == 3 ? first : second));
    }
}

CASE(tensorrt_fails_when_it_should, "STAND_IN_FAULT=context:2,trt_enqueue:1,deserialize:2,nan:1") {
    Inference inference;
    CHECK(!context(*inference.engine));
    CHECK(context(*inference.engine));
    CHECK(!inference.runtime.engine(image_engine()));
    CHECK(inference.one->setInputShape("pixel_values", images(1)));
    CHECK(!inference.one->enqueueV3(nullptr));
    CHECK(std::isnan(inference.run(picture(1))[0]));
    CHECK(!std::isnan(inference.run(picture(1))[0]));
}

CASE(memory_that_tensorrt_does_not_get) {
    Gpu gpu;
    Runtime runtime;
    CHECK(control("fault alloc:1").empty());
    CHECK(!runtime.engine(image_engine()));
    CHECK(runtime.log.has("its weights: out of memory"));
    auto engine = runtime.engine(image_engine());
    EQUAL(leaks("device memory"), 1);
    CHECK(control("fault alloc:1").empty());
    CHECK(!context(*engine));
    CHECK(context(*engine));
    engine.reset();
    EQUAL(leaks("device memory"), 0);
}

CASE(objects_in_the_wrong_order) {
    Gpu gpu;
    auto runtime = std::make_unique<Runtime>();
    auto engine = runtime->engine(image_engine());
    auto one = context(*engine);
    EQUAL(leaks("TensorRT execution context"), 1);
    runtime.reset();
    EQUAL(traced("a runtime was destroyed with 1 engines of it left"), 1);
    engine.reset();
    EQUAL(traced("an engine was destroyed with 1 contexts of it left"), 1);
    one.reset();
    EQUAL(leaks("device memory"), 0);
}

// Standard TensorRT compiles nothing at run time.
#ifdef TRT_MAJOR_RTX
CASE(the_runtime_cache) {
    Inference inference;
    std::unique_ptr<nvinfer1::IRuntimeConfig> config(inference.engine->createRuntimeConfig());
    CHECK(config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE));
    std::unique_ptr<nvinfer1::IRuntimeCache> cache(config->createRuntimeCache());
    std::unique_ptr<nvinfer1::IRuntimeCache> other(config->createRuntimeCache());
    CHECK(config->setRuntimeCache(*cache));
    auto text = [](const nvinfer1::IRuntimeCache &of) {
        std::unique_ptr<nvinfer1::IHostMemory> memory(of.serialize());
        return std::string(static_cast<const char *>(memory->data()), memory->size());
    };
    std::string before = text(*cache);
    std::unique_ptr<nvinfer1::IExecutionContext> one(
        inference.engine->createExecutionContext(config.get()));
    CHECK(one && text(*cache) != before);
    CHECK(other->deserialize(text(*cache).data(), text(*cache).size()));
    CHECK(text(*other) == text(*cache));
    CHECK(!other->deserialize("paper", 5));
}
#endif

// A profile is set in one stream and used in another: TensorRT wants a wait between.
CASE(a_profile_that_is_not_waited_for) {
    Inference inference;
    CHECK(inference.one->setOptimizationProfileAsync(1, reinterpret_cast<cudaStream_t>(inference.s)));
    CHECK(inference.one->setInputShape("pixel_values", images(1)));
    CHECK(!inference.one->enqueueV3(reinterpret_cast<cudaStream_t>(stream())));
    EQUAL(traced("\"record\":\"race\""), 1);
}

// Prints what a picture and a text become, for a program that computes the same.
CASE(print_embeddings) {
    {
        Inference inference;
        for (float value : inference.run(picture(5))) {
            std::printf("%.9g\n", static_cast<double>(value));
        }
    }
    float out[5];
    std::vector<std::int64_t> ids = {0, 1, -1, 2, 250000, 3, 1, 1};
    stand_in::text_row(ids.data(), ids.size(), out, 5);
    for (float value : out) {
        std::printf("%.9g\n", static_cast<double>(value));
    }
    for (unsigned half : {0x0000u, 0x8001u, 0x03ffu, 0x0400u, 0x3555u, 0xbc00u, 0x7bffu}) {
        std::printf("%.9g\n", static_cast<double>(stand_in::widen(static_cast<std::uint16_t>(half))));
    }
}
