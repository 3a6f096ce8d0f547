// Everything that the driver knows, under one lock. Each exported call takes the lock, looks
// whether it may run at all, and does its work; streams' threads take it between two works.
#pragma once

#include "clock.hpp"
#include "delays.hpp"
#include "faults.hpp"
#include "memory.hpp"
#include "races.hpp"
#include "stand_in.hpp"
#include "trace.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace stand_in {

using Lock = std::unique_lock<std::mutex>;

struct Context;
struct Stream;
struct Capture;

struct Device {
    int ordinal = 0;
    std::string name;
    int major = 0;
    int minor = 0;
    std::size_t total = 0;
    std::size_t used = 0;
    // How often the primary context was retained and not released.
    unsigned retained = 0;
    Context *primary = nullptr;
    // An error that ends only with the process.
    CUresult broken = CUDA_SUCCESS;
};

struct Context {
    Device *device;
    bool destroyed = false;
    std::shared_ptr<Stream> null_stream;
};

// A work in a stream.
struct Operation {
    std::uint64_t id = 0;
    Work work;
    std::shared_ptr<Stream> stream;
    std::uint64_t sequence = 0;
    // Which launch of a graph it belongs to, if it does.
    std::uint64_t graph_launch = 0;
    // What comes before it, itself included.
    Clock clock;
    // What its stream has to wait for before it begins.
    std::vector<std::shared_ptr<Operation>> after;
    std::chrono::nanoseconds delay{};
    bool done = false;
    CUresult result = CUDA_SUCCESS;
    std::uint64_t enqueued = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

struct Stream {
    unsigned number = 0;
    Context *context = nullptr;
    // The null stream, and the streams that wait for it and it for them.
    bool legacy = false;
    bool blocking = false;
    int priority = 0;
    bool closed = false;
    std::uint64_t count = 0;
    Clock clock;
    std::deque<std::shared_ptr<Operation>> queue;
    std::shared_ptr<Operation> last;
    std::shared_ptr<Capture> capture;
};

struct Event {
    unsigned flags = 0;
    Context *context = nullptr;
    // Its last recording, in a stream or in a capture.
    std::shared_ptr<Operation> recorded;
    std::weak_ptr<Capture> capture;
    std::set<std::size_t> captured_after;
};

struct Module {
    Context *context = nullptr;
    std::map<std::string, CUfunction> functions;
};

// A work of a graph, and those that it comes after.
struct Node {
    Work work;
    std::set<std::size_t> after;
};

struct Graph {
    std::vector<Node> nodes;
};

struct GraphExec {
    Context *context = nullptr;
    std::vector<Node> nodes;
    std::shared_ptr<Operation> last;
};

// The objects behind one kind of handle; a handle is the object's address.
template <typename Handle, typename Object> class Handles {
  public:
    Handle add(std::shared_ptr<Object> object) {
        auto handle = reinterpret_cast<Handle>(object.get());
        objects_[handle] = std::move(object);
        return handle;
    }
    std::shared_ptr<Object> find(Handle handle) const {
        auto found = objects_.find(handle);
        return found == objects_.end() ? nullptr : found->second;
    }
    void remove(Handle handle) { objects_.erase(handle); }
    const std::map<Handle, std::shared_ptr<Object>> &all() const { return objects_; }

  private:
    std::map<Handle, std::shared_ptr<Object>> objects_;
};

struct Driver {
    std::mutex mutex;
    // Anything that somebody may wait for has changed.
    std::condition_variable changed;

    bool initialized = false;
    std::vector<std::unique_ptr<Device>> devices;
    // Never freed, so that an old handle is recognized.
    std::vector<std::unique_ptr<Context>> contexts;

    Memory memory;
    Races races;
    Faults faults;
    Delays delays;
    Trace trace;

    // All streams whose thread has not ended, closed ones and null streams included.
    std::set<std::shared_ptr<Stream>> running;
    Handles<CUstream, Stream> streams;
    Handles<CUevent, Event> events;
    Handles<CUmodule, Module> modules;
    Handles<CUgraph, Graph> graphs;
    Handles<CUgraphExec, GraphExec> graph_execs;
    std::vector<std::shared_ptr<Capture>> captures;
    // Objects of the other library that live.
    std::map<std::string, int> others;

    // What the host has seen come to its end: everything that is enqueued from then on comes
    // after it, whichever thread enqueues it.
    Clock observed;

    std::uint64_t operations = 0;
    std::uint64_t graph_launches = 0;
    unsigned stream_count = 0;
    // Raised to let go of operations that hang.
    std::uint64_t releases = 0;
    // Whether a race is an error of the device, and not only a line of the trace.
    bool race_breaks = true;

    Driver();

    // The device has an error that stays: all that was enqueued fails with it.
    void break_device(Device &device, CUresult result);

    // What has been made and not been given back, as lines of the trace.
    std::vector<std::string> leaks() const;

    // Sets what the control socket's commands set. Throws std::invalid_argument.
    std::string command(const std::string &line);
};

// The one driver of the process. It is never destroyed: streams' threads use it to the end.
Driver &driver();

// The context that is current in this thread.
extern thread_local Context *current_context;

// Whether this thread runs a host function of a stream, where CUDA forbids its own calls.
extern thread_local bool in_host_function;

// What a call has to have before it can do anything.
enum class Needs { nothing, init, context };

CUresult may_run(const Driver &driver, Needs needs);

// Runs the body of an exported call under the lock, and puts a failure into the trace.
template <typename Body> CUresult call(const char *name, Needs needs, Body body) {
    Driver &all = driver();
    Lock lock(all.mutex);
    CUresult result = may_run(all, needs);
    if (result == CUDA_SUCCESS) {
        result = body(all, lock);
    }
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY) {
        all.trace.add(Record("failed_call").put("call", name).put("result", result).put("at", now()));
    }
    return result;
}

} // namespace stand_in
