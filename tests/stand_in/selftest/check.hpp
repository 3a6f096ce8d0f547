// The self-test's tools: cases by name, checks that say where they failed, and the few objects
// that most cases need.
#pragma once

#include "../cuda/calls.hpp"
#include "../cuda/stand_in.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

// A case, and the settings that its process needs: STAND_IN_DELAY=upload:50ms and so on.
struct Case {
    void (*run)();
    std::vector<std::string> environment;
};

inline std::map<std::string, Case> &cases() {
    static std::map<std::string, Case> all;
    return all;
}

struct Registered {
    Registered(const char *name, void (*run)(), std::vector<std::string> environment) {
        cases()[name] = {run, std::move(environment)};
    }
};

#define CASE(name, ...)                                                                            \
    static void name();                                                                            \
    static const Registered registered_##name(#name, name, {__VA_ARGS__});                         \
    static void name()

template <typename Found, typename Wanted>
void check_equal(const char *file, int line, const char *text, Found found, Wanted wanted) {
    if (!(found == static_cast<Found>(wanted))) {
        std::fprintf(stderr, "%s:%d: %s is %s and should be %s\n", file, line, text,
                     std::to_string(found).c_str(), std::to_string(wanted).c_str());
        std::exit(1);
    }
}

#define EQUAL(found, wanted) check_equal(__FILE__, __LINE__, #found, found, wanted)
#define OK(call) EQUAL(call, CUDA_SUCCESS)
#define CHECK(condition) EQUAL(static_cast<bool>(condition), true)

// The answer to a command of the control socket.
inline std::string control(const std::string &command) {
    std::string answer(std::size_t{1} << 22, '\0');
    std::size_t length = stand_in_control(command.c_str(), answer.data(), answer.size());
    CHECK(length < answer.size());
    answer.resize(length);
    return answer;
}

// How many lines of the trace have this text.
inline int traced(const std::string &text, const char *from = "trace") {
    std::string lines = control(from);
    int count = 0;
    for (std::size_t at = 0, end; (end = lines.find('\n', at)) != std::string::npos; at = end + 1) {
        count += lines.substr(at, end - at).find(text) != std::string::npos;
    }
    return count;
}

inline int leaks(const std::string &what = "") {
    return traced(what.empty() ? "\"leak\"" : "\"what\":\"" + what + "\"", "leaks");
}

// The device's context, current in this thread.
struct Gpu {
    CUdevice device = 0;

    explicit Gpu(int ordinal = 0) {
        OK(cuInit(0));
        OK(cuDeviceGet(&device, ordinal));
        CUcontext context;
        OK(cuDevicePrimaryCtxRetain(&context, device));
        OK(cuCtxSetCurrent(context));
    }
    ~Gpu() { cuDevicePrimaryCtxRelease_v2(device); }
};

inline CUstream stream(unsigned flags = CU_STREAM_NON_BLOCKING) {
    CUstream made;
    OK(cuStreamCreate(&made, flags));
    return made;
}

inline CUevent event() {
    CUevent made;
    OK(cuEventCreate(&made, CU_EVENT_DISABLE_TIMING));
    return made;
}

// `count` unsigned numbers on the device, and pinned on the host.
inline CUdeviceptr device_numbers(std::size_t count = 1) {
    CUdeviceptr made;
    OK(cuMemAlloc_v2(&made, count * sizeof(unsigned)));
    return made;
}

inline unsigned *pinned_numbers(std::size_t count = 1) {
    void *made;
    OK(cuMemHostAlloc(&made, count * sizeof(unsigned), CU_MEMHOSTALLOC_PORTABLE));
    return static_cast<unsigned *>(made);
}

// The first number there, once everything has ended.
inline unsigned number_at(CUdeviceptr address) {
    OK(cuCtxSynchronize());
    unsigned value;
    OK(cuMemcpyDtoH_v2(&value, address, sizeof value));
    return value;
}
