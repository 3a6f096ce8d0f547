// A stand-in for nvJPEG: a decoder on the host, whose pixels come to the device by copies on the
// caller's stream, so that it runs on the stand-in for the driver and on a real one.
//
//     STAND_IN_NVJPEG=engine|cuda|none     what the GPU decodes with; `none`: no handle is made
//     STAND_IN_NVJPEG_FAULT=decode:3+      the 3rd decoding and all later ones fail (faults.hpp)
//     STAND_IN_NVJPEG_REJECT=WIDTH         files of this width fail when they are decoded
//     STAND_IN_NVJPEG_UNSUPPORTED=WIDTH    files of this width are not supported, and it says so
//     STAND_IN_NVJPEG_MEMORY=2             it takes so many times the bytes of the pixels
//     STAND_IN_NVJPEG_WRONG=1              red and blue are exchanged
//
// Its faults are `decode` and `state`. As the real one, it takes its memory from the allocators it was
// given, keeps it for the next batch, and fails a whole batch for one bad file.

#include "../cuda/api.hpp"
#include "../cuda/faults.hpp"
#include "decoder.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

CUDA_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void *, std::size_t, CUstream);
CUDA_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, std::size_t, CUstream);

namespace {

enum Status {
    SUCCESS = 0,
    INVALID_PARAMETER = 2,
    BAD_JPEG = 3,
    ALLOCATOR_FAILURE = 5,
    EXECUTION_FAILED = 6,
    ARCH_MISMATCH = 7,
};

struct Allocator {
    int (*take)(void *, void **, std::size_t, CUstream);
    int (*give)(void *, void *, std::size_t, CUstream);
    void *context;
};

struct Image {
    CUdeviceptr channel[4];
    std::size_t pitch[4];
};

struct Handle {
    Allocator device{};
    Allocator pinned{};
    int living = 0; // Objects made with it.
    bool engine = false;
};

// Memory of an allocator, which grows.
struct Memory {
    void *start = nullptr;
    std::size_t bytes = 0;

    bool grow(const Allocator &from, std::size_t wanted, CUstream stream) {
        if (wanted <= bytes) {
            return true;
        }
        release(from, stream);
        if (from.take(from.context, &start, wanted, stream) != 0) {
            start = nullptr;
            return false;
        }
        bytes = wanted;
        return true;
    }

    void release(const Allocator &from, CUstream stream) {
        if (start && from.give(from.context, start, bytes, stream) != 0) {
            std::fprintf(stderr, "stand-in: nvJPEG: memory could not be given back\n");
            std::abort();
        }
        start = nullptr;
        bytes = 0;
    }
};

struct State {
    Handle *handle;
    int batch = 0;
    Memory planes;
    Memory files;
};

struct Header {
    Handle *handle;
    int width = 0;
    int height = 0;
};

std::mutex lock;

std::string setting(const char *name) {
    const char *value = std::getenv(name);
    return value ? value : "";
}

bool fails(const char *kind) {
    static stand_in::Faults *faults = [] {
        auto *made = new stand_in::Faults;
        std::string text = setting("STAND_IN_NVJPEG_FAULT");
        if (!text.empty()) {
            made->set(text);
        }
        return made;
    }();
    return faults->due(kind) != CUDA_SUCCESS;
}

bool is_width(const char *name, int width) { return setting(name) == std::to_string(width); }

void misuse(const char *what) { std::fprintf(stderr, "stand-in: misuse of nvJPEG: %s\n", what); }

int create(int backend, const Allocator *device, const Allocator *pinned, Handle **handle) {
    std::string there = setting("STAND_IN_NVJPEG");
    bool engine = backend == 3;
    if (there == "none" || (engine && there == "cuda") || (!engine && backend != 2)) {
        return ARCH_MISMATCH;
    }
    auto *made = new Handle;
    made->engine = engine;
    if (device && pinned) {
        made->device = *device;
        made->pinned = *pinned;
    }
    *handle = made;
    return SUCCESS;
}

} // namespace

CUDA_API int nvjpegGetProperty(int which, int *value) {
    static const int version[] = {13, 0, 4};
    if (which < 0 || which > 2) {
        return INVALID_PARAMETER;
    }
    *value = version[which];
    return SUCCESS;
}

CUDA_API int nvjpegCreateEx(int backend, void *, void *, unsigned, Handle **handle) {
    return create(backend, nullptr, nullptr, handle);
}

CUDA_API int nvjpegCreateExV2(int backend, Allocator *device, Allocator *pinned, unsigned,
                              Handle **handle) {
    return create(backend, device, pinned, handle);
}

CUDA_API int nvjpegDestroy(Handle *handle) {
    if (handle->living != 0) {
        misuse("a handle is destroyed before what was made with it");
    }
    delete handle;
    return SUCCESS;
}

CUDA_API int nvjpegGetHardwareDecoderInfo(Handle *handle, unsigned *engines, unsigned *cores) {
    *engines = *cores = handle->engine ? 1 : 0;
    return SUCCESS;
}

CUDA_API int nvjpegJpegStateCreate(Handle *handle, State **state) {
    std::lock_guard guard(lock);
    if (!handle->device.take) {
        misuse("a state without allocators would take memory of its own");
    }
    if (fails("state")) {
        return ALLOCATOR_FAILURE;
    }
    ++handle->living;
    *state = new State{handle, 0, {}, {}};
    return SUCCESS;
}

CUDA_API int nvjpegJpegStateDestroy(State *state) {
    std::lock_guard guard(lock);
    state->planes.release(state->handle->device, nullptr);
    state->files.release(state->handle->pinned, nullptr);
    --state->handle->living;
    delete state;
    return SUCCESS;
}

CUDA_API int nvjpegDecodeBatchedInitialize(Handle *handle, State *state, int batch, int threads,
                                           int format) {
    if (state->handle != handle || batch < 1 || threads < 1 || format != 5) {
        return INVALID_PARAMETER;
    }
    state->batch = batch;
    return SUCCESS;
}

CUDA_API int nvjpegDecodeBatched(Handle *handle, State *state, const std::uint8_t *const *files,
                                 const std::size_t *lengths, Image *images, CUstream stream) {
    std::lock_guard guard(lock);
    if (state->handle != handle || state->batch < 1) {
        return INVALID_PARAMETER;
    }
    auto count = static_cast<std::size_t>(state->batch);
    std::vector<stand_in::Picture> pictures(count);
    std::size_t pixels = 0, bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (!stand_in::decode(files[i], lengths[i], &pictures[i])) {
            return BAD_JPEG;
        }
        pixels += pictures[i].rgb.size();
        bytes += lengths[i];
    }
    std::string times = setting("STAND_IN_NVJPEG_MEMORY");
    pixels *= times.empty() ? 1 : std::stoul(times);
    if (!state->planes.grow(handle->device, pixels, stream) ||
        !state->files.grow(handle->pinned, bytes, stream)) {
        return ALLOCATOR_FAILURE;
    }
    bool failed = fails("decode");
    bool wrong = setting("STAND_IN_NVJPEG_WRONG") == "1";
    auto at = reinterpret_cast<CUdeviceptr>(state->planes.start);
    auto *held = static_cast<std::uint8_t *>(state->files.start);
    for (std::size_t i = 0; i < count; ++i) {
        // It looks at the files in its own memory only.
        std::memcpy(held, files[i], lengths[i]);
        held += lengths[i];
        auto &rgb = pictures[i].rgb;
        for (std::size_t pixel = 0; wrong && pixel < rgb.size(); pixel += 3) {
            std::swap(rgb[pixel], rgb[pixel + 2]);
        }
        // It fails after the first pictures, as a device would.
        if ((failed && i == count / 2) || is_width("STAND_IN_NVJPEG_REJECT", pictures[i].width)) {
            return EXECUTION_FAILED;
        }
        std::size_t row = 3 * static_cast<std::size_t>(pictures[i].width);
        if (images[i].pitch[0] < row) {
            return INVALID_PARAMETER;
        }
        CUresult result = cuMemcpyHtoDAsync_v2(at, rgb.data(), rgb.size(), stream);
        bool dense = images[i].pitch[0] == row;
        std::size_t rows = dense ? 1 : static_cast<std::size_t>(pictures[i].height);
        for (std::size_t y = 0; result == CUDA_SUCCESS && y < rows; ++y) {
            result = cuMemcpyDtoDAsync_v2(images[i].channel[0] + y * images[i].pitch[0],
                                          at + y * row, dense ? rgb.size() : row, stream);
        }
        if (result != CUDA_SUCCESS) {
            return EXECUTION_FAILED;
        }
        at += rgb.size();
    }
    return SUCCESS;
}

CUDA_API int nvjpegJpegStreamCreate(Handle *handle, Header **header) {
    std::lock_guard guard(lock);
    ++handle->living;
    *header = new Header{handle, 0, 0};
    return SUCCESS;
}

CUDA_API int nvjpegJpegStreamDestroy(Header *header) {
    std::lock_guard guard(lock);
    --header->handle->living;
    delete header;
    return SUCCESS;
}

CUDA_API int nvjpegJpegStreamParseHeader(Handle *, const std::uint8_t *file, std::size_t bytes,
                                         Header *header) {
    return stand_in::read_header(file, bytes, &header->width, &header->height) ? SUCCESS
                                                                               : BAD_JPEG;
}

CUDA_API int nvjpegDecodeBatchedSupported(Handle *, Header *header, int *unsupported) {
    *unsupported = is_width("STAND_IN_NVJPEG_UNSUPPORTED", header->width) ? 1 : 0;
    return SUCCESS;
}

// For tests, which are to know its pixels: three bytes for each pixel. False if it does not decode
// the file.
CUDA_API bool stand_in_decode(const std::uint8_t *file, std::size_t bytes, std::uint8_t *rgb) {
    stand_in::Picture picture;
    if (!stand_in::decode(file, bytes, &picture)) {
        return false;
    }
    std::memcpy(rgb, picture.rgb.data(), picture.rgb.size());
    return true;
}
