// Faults on demand, leaks, the machine's identity, and the ways to the control.

#include "check.hpp"

#include <cstring>
#include <thread>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

CASE(calls_fail_when_they_should, "STAND_IN_FAULT=alloc:2,host_alloc:1,copy:2=1,launch:1,stream:2,event:2,module:1,graph:1,graph_launch:1") {
    Gpu gpu;
    CUdeviceptr a = device_numbers(), more;
    EQUAL(cuMemAlloc_v2(&more, 4), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuMemAlloc_v2(&more, 4));
    void *pinned;
    EQUAL(cuMemHostAlloc(&pinned, 4, 0), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuMemHostAlloc(&pinned, 4, 0));
    unsigned number = 0;
    OK(cuMemcpyHtoD_v2(a, &number, 4));
    EQUAL(cuMemcpyHtoD_v2(a, &number, 4), CUDA_ERROR_INVALID_VALUE);
    OK(cuMemcpyHtoD_v2(a, &number, 4));
    CUstream s = stream(), t;
    EQUAL(cuStreamCreate(&t, 0), CUDA_ERROR_OUT_OF_MEMORY);
    CUevent e = event(), f;
    EQUAL(cuEventCreate(&f, 0), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuEventRecord(e, s));
    CUmodule module;
    EQUAL(cuModuleLoadData(&module, "stand-in"), CUDA_ERROR_NO_BINARY_FOR_GPU);
    OK(cuModuleLoadData(&module, "stand-in"));
    CUfunction scale;
    OK(cuModuleGetFunction(&scale, module, "stand_in_scale"));
    float factor = 2;
    unsigned count = 1;
    void *parameters[] = {&a, &a, &factor, &count};
    auto launch = [&] {
        return cuLaunchKernel(scale, 1, 1, 1, 1, 1, 1, 0, s, parameters, nullptr);
    };
    EQUAL(launch(), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    OK(launch());
    OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    CUgraph graph;
    OK(cuStreamEndCapture(s, &graph));
    CUgraphExec exec;
    EQUAL(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    EQUAL(cuGraphLaunch(exec, s), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    OK(cuGraphLaunch(exec, s));
    OK(cuStreamSynchronize(s));
}

CASE(from_one_on_every_call_fails, "STAND_IN_FAULT=enqueue:3+") {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    OK(cuMemsetD32Async(a, 0, 1, s));
    OK(cuMemsetD32Async(a, 0, 1, s));
    EQUAL(cuMemsetD32Async(a, 0, 1, s), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    EQUAL(cuEventRecord(event(), s), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    OK(stand_in_control("clear", nullptr, 0));
    OK(cuMemsetD32Async(a, 0, 1, s));
}

CASE(an_error_that_stays, "STAND_IN_FAULT=sticky@fill:2") {
    Gpu gpu;
    CUstream s = stream();
    CUevent e = event();
    CUdeviceptr a = device_numbers(), b = device_numbers();
    OK(cuMemsetD32Async(a, 1, 1, s));
    OK(cuMemcpyDtoDAsync_v2(b, a, 4, s));
    OK(cuStreamSynchronize(s));
    OK(cuMemsetD32Async(a, 2, 1, s));
    // What was enqueued behind it comes to an end and is not done. The call may find the error.
    CUresult record = cuEventRecord(e, s);
    CHECK(record == CUDA_SUCCESS || record == CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(cuEventSynchronize(e), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(*reinterpret_cast<unsigned *>(a), 1u);
    // Memory goes back all the same.
    EQUAL(cuMemFree_v2(a), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(cuMemFree_v2(b), CUDA_ERROR_ILLEGAL_ADDRESS);
    EQUAL(leaks("device memory"), 0);
}

CASE(a_lost_device, "STAND_IN_FAULT=lost:1") {
    Gpu gpu;
    CUstream s = stream();
    OK(cuMemsetD32Async(device_numbers(), 1, 1, s));
    EQUAL(cuStreamSynchronize(s), CUDA_ERROR_UNKNOWN);
    CUcontext context;
    EQUAL(cuDevicePrimaryCtxRetain(&context, gpu.device), CUDA_ERROR_UNKNOWN);
}

CASE(a_work_that_hangs, "STAND_IN_FAULT=hang:1") {
    Gpu gpu;
    CUstream s = stream();
    CUdeviceptr a = device_numbers();
    OK(cuMemsetD32Async(a, 1, 1, s));
    EQUAL(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
    // It waits until it is let go; the thread asks for that in its own time.
    std::thread([] { stand_in_control("release", nullptr, 0); }).join();
    while (cuStreamQuery(s) == CUDA_ERROR_NOT_READY) {
        stand_in_control("release", nullptr, 0);
    }
    EQUAL(number_at(a), 1u);
}

CASE(a_driver_that_does_not_match, "STAND_IN_FAULT=init:1+") {
    EQUAL(cuInit(0), CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
    int count;
    EQUAL(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
}

CASE(no_gpu, "STAND_IN_GPUS=none") { EQUAL(cuInit(0), CUDA_ERROR_NO_DEVICE); }

CASE(two_gpus, "STAND_IN_GPUS=NVIDIA L4:8.9:1GiB,NVIDIA GeForce RTX 5090:12.0:32607MiB", "STAND_IN_DRIVER_VERSION=12080") {
    Gpu gpu;
    int count, major, version;
    OK(cuDeviceGetCount(&count));
    EQUAL(count, 2);
    char name[64];
    OK(cuDeviceGetName(name, sizeof name, 0));
    CHECK(std::string(name) == "NVIDIA L4");
    OK(cuDeviceGetAttribute(&major, 75, 1));
    EQUAL(major, 12);
    OK(cuDriverGetVersion(&version));
    EQUAL(version, 12080);
    // What it has is what can be allocated.
    std::size_t free, total;
    CUdeviceptr a, b;
    OK(cuMemAlloc_v2(&a, std::size_t{900} << 20));
    EQUAL(cuMemAlloc_v2(&b, std::size_t{200} << 20), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuMemGetInfo_v2(&free, &total));
    EQUAL(free, std::size_t{124} << 20);
    OK(cuMemFree_v2(a));
    OK(cuMemGetInfo_v2(&free, &total));
    EQUAL(free, total);
}

CASE(what_is_not_given_back) {
    {
        Gpu gpu;
        EQUAL(leaks(), 1);
        EQUAL(leaks("primary context"), 1);
    }
    EQUAL(leaks(), 0);
    Gpu gpu;
    CUdeviceptr a = device_numbers();
    unsigned *pinned = pinned_numbers();
    CUstream s = stream();
    CUevent e = event();
    CUmodule module;
    OK(cuModuleLoadData(&module, "stand-in"));
    for (const char *what :
         {"device memory", "pinned memory", "stream", "event", "module", "primary context"}) {
        EQUAL(leaks(what), 1);
    }
    OK(cuMemFree_v2(a));
    OK(cuMemFreeHost(pinned));
    OK(cuStreamDestroy_v2(s));
    OK(cuEventDestroy_v2(e));
    OK(cuModuleUnload(module));
    EQUAL(leaks(), 1);
    EQUAL(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE);
    EQUAL(cuStreamDestroy_v2(s), CUDA_ERROR_INVALID_HANDLE);
}

CASE(a_context_must_be_current) {
    OK(cuInit(0));
    CUdeviceptr a;
    EQUAL(cuMemAlloc_v2(&a, 4), CUDA_ERROR_INVALID_CONTEXT);
    Gpu gpu;
    OK(cuMemAlloc_v2(&a, 4));
    CUevent e = event();
    std::thread([&] { EQUAL(cuEventSynchronize(e), CUDA_ERROR_INVALID_CONTEXT); }).join();
}

CASE(calls_that_nobody_makes) {
    Gpu gpu;
    EQUAL(cuMemAllocManaged(), CUDA_ERROR_NOT_SUPPORTED);
    EQUAL(traced("cuMemAllocManaged"), 1);
    void *found;
    OK(cuGetProcAddress_v2("cuMemAlloc", &found, 13000, 0, nullptr));
    CHECK(found == reinterpret_cast<void *>(cuMemAlloc_v2));
}

CASE(wrong_commands_are_refused) {
    for (const char *command :
         {"", "nonsense", "fault alloc", "fault alloc:0", "fault alloc:x", "fault paper:1",
          "fault alloc@fill:1", "fault alloc:1=12345", "delay upload:3", "delay sideways:3ms"}) {
        CHECK(control(command).rfind("error ", 0) == 0);
    }
    EQUAL(control("fault alloc:1,sticky@upload:2+").size(), 0u);
}

CASE(commands_over_the_socket) {
    Gpu gpu;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, std::getenv("STAND_IN_CONTROL"), sizeof address.sun_path - 1);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    EQUAL(connect(client, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    auto ask = [&](const std::string &command) {
        EQUAL(write(client, command.data(), command.size()), command.size());
        std::string answer;
        char c;
        while (answer != ".\n" &&
               (answer.size() < 3 || answer.compare(answer.size() - 3, 3, "\n.\n") != 0)) {
            EQUAL(read(client, &c, 1), 1);
            answer += c;
        }
        return answer;
    };
    CHECK(ask("fault alloc:1\n") == ".\n");
    CUdeviceptr a;
    EQUAL(cuMemAlloc_v2(&a, 4), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(ask("trace\n").find("cuMemAlloc_v2") != std::string::npos);
    CHECK(ask("paper\n").rfind("error ", 0) == 0);
    CHECK(ask("leaks\n").find("primary context") != std::string::npos);
    close(client);
}
