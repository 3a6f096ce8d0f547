#include "driver.hpp"

#include "control.hpp"
#include "device.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace stand_in {
namespace {

// A malformed setting must not be mistaken for one that is not set.
template <typename Apply> void setting(const char *name, Apply apply) {
    const char *value = std::getenv(name);
    if (!value || !*value) {
        return;
    }
    try {
        apply(std::string(value));
    } catch (const std::invalid_argument &error) {
        std::fprintf(stderr, "stand-in: %s: %s\n", name, error.what());
        std::abort();
    }
}

Record leak(const char *what) { return Record("leak").put("what", what); }

} // namespace

thread_local Context *current_context = nullptr;
thread_local bool in_host_function = false;

Driver::Driver() {
    now();
    devices.push_back(parse_device("NVIDIA GeForce RTX 5090:12.0:32607MiB"));
    setting("STAND_IN_GPUS", [&](const std::string &text) { devices = parse_devices(text); });
    for (std::size_t i = 0; i < devices.size(); ++i) {
        devices[i]->ordinal = static_cast<int>(i);
    }
    setting("STAND_IN_FAULT", [&](const std::string &text) { faults.set(text); });
    setting("STAND_IN_DELAY", [&](const std::string &text) { delays.set(text); });
    setting("STAND_IN_RACE", [&](const std::string &text) {
        if (text != "report" && text != "error") {
            throw std::invalid_argument("write report or error");
        }
        race_breaks = text == "error";
    });
}

Driver &driver() {
    static Driver *const one = [] {
        auto *made = new Driver;
        setting("STAND_IN_CONTROL", [&](const std::string &path) { listen_for_commands(path); });
        return made;
    }();
    return *one;
}

void Driver::break_device(Device &device, CUresult result) {
    if (device.broken == CUDA_SUCCESS) {
        device.broken = result;
        trace.add(Record("broken").put("device", device.ordinal).put("result", result).put("at", now()));
    }
    changed.notify_all();
}

std::vector<std::string> Driver::leaks() const {
    std::vector<std::string> lines;
    for (const auto &[begin, allocation] : memory.living()) {
        const char *what = allocation.place == Place::device ? "device memory" : "pinned memory";
        lines.push_back(leak(what).put("id", allocation.id).put("bytes", allocation.bytes).line());
    }
    for (const auto &[handle, stream] : streams.all()) {
        lines.push_back(leak("stream").put("id", stream->number).line());
    }
    std::size_t unfinished = 0;
    for (const auto &stream : running) {
        unfinished += stream->queue.size();
    }
    auto counted = [&](const char *what, std::size_t count) {
        if (count > 0) {
            lines.push_back(leak(what).put("count", count).line());
        }
    };
    counted("unfinished operation", unfinished);
    counted("event", events.all().size());
    counted("module", modules.all().size());
    counted("graph", graphs.all().size());
    counted("executable graph", graph_execs.all().size());
    for (const auto &device : devices) {
        counted("primary context", device->retained);
    }
    for (const auto &[what, count] : others) {
        counted(what.c_str(), count > 0 ? static_cast<std::size_t>(count) : 0);
    }
    return lines;
}

std::string Driver::command(const std::string &line) {
    std::size_t space = line.find(' ');
    std::string verb = line.substr(0, space);
    std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    std::string answer;
    auto answer_with = [&](const std::vector<std::string> &lines) {
        for (const std::string &one : lines) {
            answer += one + "\n";
        }
    };
    if (verb == "fault") {
        faults.set(rest);
    } else if (verb == "clear") {
        faults.clear();
    } else if (verb == "delay") {
        delays.set(rest);
    } else if (verb == "release") {
        ++releases;
        changed.notify_all();
    } else if (verb == "trace") {
        answer_with(trace.lines());
    } else if (verb == "forget") {
        trace.forget();
    } else if (verb == "leaks") {
        answer_with(leaks());
    } else if (verb == "flush") {
        trace.write(leaks());
    } else {
        throw std::invalid_argument("there is no command \"" + verb + "\"");
    }
    return answer;
}

CUresult may_run(const Driver &driver, Needs needs) {
    if (needs == Needs::nothing) {
        return CUDA_SUCCESS;
    }
    if (in_host_function) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    if (!driver.initialized) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    if (needs == Needs::init) {
        return CUDA_SUCCESS;
    }
    if (!current_context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (current_context->destroyed) {
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return current_context->device->broken;
}

CUresult fault(const char *kind) {
    Driver &all = driver();
    Lock lock(all.mutex);
    CUresult result = all.faults.due(kind);
    if (result != CUDA_SUCCESS) {
        all.trace.add(Record("fault").put("kind", kind).put("result", result).put("at", now()));
    }
    return result;
}

void misuse(const std::string &text) {
    Driver &all = driver();
    Lock lock(all.mutex);
    all.trace.add(Record("misuse").put("text", text).put("at", now()));
}

void living(const char *what, int change) {
    Driver &all = driver();
    Lock lock(all.mutex);
    all.others[what] += change;
}

} // namespace stand_in

CUDA_API void stand_in_trace_flush() {
    stand_in::Driver &all = stand_in::driver();
    stand_in::Lock lock(all.mutex);
    all.trace.write(all.leaks());
}

// Runs at the end of the process, after its own destructors.
__attribute__((destructor)) static void at_exit() { stand_in_trace_flush(); }
