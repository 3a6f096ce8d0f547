// Modules and launches.
//
// A module is a real cubin, whose code is not run here, or a text that begins with `stand-in`. The
// functions are this library's own (kernels.cpp). A text that continues with ` sm_120` is for that
// architecture only.

#include "kernels.hpp"
#include "stream.hpp"

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>

namespace stand_in {
namespace {

// The architecture that a stand-in module is for; 0 for any.
int architecture(const char *text) {
    int number = 0;
    return std::sscanf(text, "stand-in sm_%d", &number) == 1 ? number : 0;
}

CUresult load(Driver &driver, CUmodule *handle, const char *image) {
    bool elf = std::memcmp(image, "\177ELF", 4) == 0;
    bool text = !elf && std::strncmp(image, "stand-in", 8) == 0;
    if (!elf && !text) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    const Device &device = *current_context->device;
    int wanted = text ? architecture(image) : 0;
    if (wanted != 0 && wanted != 10 * device.major + device.minor) {
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    if (CUresult due = driver.faults.due("module")) {
        return due;
    }
    auto module = std::make_shared<Module>();
    module->context = current_context;
    *handle = driver.modules.add(module);
    return CUDA_SUCCESS;
}

const Kernel *kernel_of(CUfunction function) { return reinterpret_cast<const Kernel *>(function); }

// Whether this function comes from a live module of the current context.
bool is_loaded(const Driver &driver, CUfunction function) {
    for (const auto &[handle, module] : driver.modules.all()) {
        for (const auto &[name, known] : module->functions) {
            if (known == function && module->context == current_context) {
                return true;
            }
        }
    }
    return false;
}

// A kernel is assumed to access an allocation from its pointer to its next pointer, or to the end.
// So buffers that streams use at the same time must be separate allocations.
std::vector<Range> ranges_of(const Driver &driver, const Kernel &kernel,
                             const std::vector<std::array<char, 8>> &values) {
    std::vector<Range> ranges;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (kernel.parameters[i] != Parameter::reads && kernel.parameters[i] != Parameter::writes) {
            continue;
        }
        std::uintptr_t begin;
        std::memcpy(&begin, values[i].data(), sizeof begin);
        const Allocation *in = driver.memory.find(begin);
        std::uintptr_t end = in ? in->begin + in->bytes : begin + 1;
        for (const auto &other : values) {
            std::uintptr_t next;
            std::memcpy(&next, other.data(), sizeof next);
            if (next > begin && next < end) {
                end = next;
            }
        }
        ranges.push_back({begin, end, kernel.parameters[i] == Parameter::writes});
    }
    return ranges;
}

CUresult launch(Driver &driver, CUfunction function, std::array<unsigned, 3> grid,
                std::array<unsigned, 3> block, unsigned shared_bytes, CUstream handle,
                void **parameters) {
    std::shared_ptr<Stream> stream = stream_of(driver, handle);
    if (!stream || !is_loaded(driver, function)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    constexpr unsigned THREADS_MOST = 1024;
    constexpr unsigned SHARED_MOST = 101376;
    bool empty = false;
    for (unsigned extent : {grid[0], grid[1], grid[2], block[0], block[1], block[2]}) {
        empty |= extent == 0;
    }
    if (empty || block[0] * block[1] * block[2] > THREADS_MOST || grid[1] > 65535 ||
        grid[2] > 65535 || shared_bytes > SHARED_MOST || !parameters) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (const char *kind : {"enqueue", "launch"}) {
        if (CUresult due = driver.faults.due(kind)) {
            return due;
        }
    }
    const Kernel *kernel = kernel_of(function);
    std::vector<std::array<char, 8>> values(kernel->parameters.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::memcpy(values[i].data(), parameters[i], kernel->bytes[i]);
    }
    Work work;
    work.kind = "kernel";
    work.label = kernel->name;
    work.ranges = ranges_of(driver, *kernel, values);
    for (const Range &range : work.ranges) {
        work.bytes += range.end - range.begin;
    }
    work.act = [=]() -> CUresult {
        std::vector<std::array<char, 8>> own = values;
        std::vector<void *> pointers;
        for (auto &value : own) {
            pointers.push_back(value.data());
        }
        int result = kernel->run(kernel->name, grid.data(), block.data(), pointers.data());
        return result == 0 ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
    };
    return submit(driver, stream, std::move(work));
}

} // namespace
} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return call("cuModuleLoadData", Needs::context, [&](Driver &driver, Lock &) {
        return load(driver, module, static_cast<const char *>(image));
    });
}

CUDA_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, int *, void **) {
    return cuModuleLoadData(module, image);
}

CUDA_API CUresult cuModuleLoad(CUmodule *module, const char *path) {
    std::ifstream file(path, std::ios::binary);
    std::string image{std::istreambuf_iterator<char>(file), {}};
    if (!file.is_open()) {
        return CUDA_ERROR_FILE_NOT_FOUND;
    }
    image.append(4, '\0');
    return cuModuleLoadData(module, image.data());
}

CUDA_API CUresult cuModuleUnload(CUmodule handle) {
    return call("cuModuleUnload", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Module> module = driver.modules.find(handle);
        if (!module) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        driver.modules.remove(handle);
        return module->context->device->broken;
    });
}

CUDA_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule handle, const char *name) {
    return call("cuModuleGetFunction", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        std::shared_ptr<Module> module = driver.modules.find(handle);
        if (!module) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        const Kernel *kernel = find_kernel(name);
        if (!kernel) {
            return CUDA_ERROR_NOT_FOUND;
        }
        *function = reinterpret_cast<CUfunction>(const_cast<Kernel *>(kernel));
        module->functions[name] = *function;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuFuncGetAttribute(int *value, int, CUfunction) {
    *value = 0;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuFuncSetAttribute(CUfunction, int, int) { return CUDA_SUCCESS; }

CUDA_API CUresult cuFuncSetCacheConfig(CUfunction, int) { return CUDA_SUCCESS; }

CUDA_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                 unsigned grid_z, unsigned block_x, unsigned block_y,
                                 unsigned block_z, unsigned shared_bytes, CUstream stream,
                                 void **parameters, void **extra) {
    return call("cuLaunchKernel", Needs::context, [&](Driver &driver, Lock &) -> CUresult {
        if (extra) {
            return CUDA_ERROR_NOT_SUPPORTED;
        }
        return launch(driver, function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z},
                      shared_bytes, stream, parameters);
    });
}
