#include "device.hpp"

#include "spec.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace stand_in {

std::unique_ptr<Device> parse_device(const std::string &text) {
    std::vector<std::string> words = split(text, ':');
    std::vector<std::string> version =
        words.size() == 3 ? split(words[1], '.') : std::vector<std::string>{};
    if (version.size() != 2) {
        throw std::invalid_argument("\"" + text + "\" is no GPU: write NAME:12.0:32607MiB");
    }
    auto device = std::make_unique<Device>();
    device->name = words[0];
    device->major = static_cast<int>(number(version[0]));
    device->minor = static_cast<int>(number(version[1]));
    device->total = bytes(words[2]);
    return device;
}

std::vector<std::unique_ptr<Device>> parse_devices(const std::string &text) {
    std::vector<std::unique_ptr<Device>> devices;
    if (text != "none") {
        for (const std::string &one : split(text, ',')) {
            devices.push_back(parse_device(one));
        }
    }
    return devices;
}

namespace {

// The values of CUdevice_attribute that are used.
int attribute(const Device &device, int which) {
    switch (which) {
    case 1: // threads per block
    case 2: // block x
    case 3: // block y
        return 1024;
    case 4: // block z
        return 64;
    case 5: // grid x
        return 2147483647;
    case 6: // grid y
    case 7: // grid z
        return 65535;
    case 8: // shared memory per block
        return 49152;
    case 10: // threads of a warp
        return 32;
    case 13: // clock, kHz
        return 2407000;
    case 16: // multiprocessors
        return 170;
    case 19: // maps host memory
    case 31: // kernels at the same time
    case 41: // one address space
    case 115: // memory pools
        return 1;
    case 33: // PCI bus
        return device.ordinal + 1;
    case 36: // memory clock, kHz
        return 14001000;
    case 37: // memory bus, bits
        return 512;
    case 38: // L2 cache, bytes
        return 100663296;
    case 39: // threads per multiprocessor
        return 1536;
    case 40: // copy engines
        return 2;
    case 75:
        return device.major;
    case 76:
        return device.minor;
    case 97: // shared memory per block, when asked for
        return 101376;
    default:
        return 0;
    }
}

// Runs a body with the device of this ordinal.
template <typename Body> CUresult with_device(const char *name, CUdevice ordinal, Body body) {
    return call(name, Needs::init, [&](Driver &driver, Lock &lock) -> CUresult {
        if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= driver.devices.size()) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        return body(*driver.devices[static_cast<std::size_t>(ordinal)], driver, lock);
    });
}

CUresult uuid_of(const Device &device, CUuuid *uuid) {
    std::memcpy(uuid->bytes, "stand-in GPU    ", sizeof uuid->bytes);
    uuid->bytes[15] = static_cast<char>(device.ordinal);
    return CUDA_SUCCESS;
}

} // namespace
} // namespace stand_in

using namespace stand_in;

CUDA_API CUresult cuInit(unsigned) {
    return call("cuInit", Needs::nothing, [](Driver &driver, Lock &lock) -> CUresult {
        if (driver.faults.due("init_hang") != CUDA_SUCCESS) {
            std::uint64_t seen = driver.releases;
            driver.changed.wait(lock, [&] { return driver.releases != seen; });
        }
        if (CUresult due = driver.faults.due("init")) {
            return due;
        }
        if (driver.devices.empty()) {
            return CUDA_ERROR_NO_DEVICE;
        }
        driver.initialized = true;
        return CUDA_SUCCESS;
    });
}

// 1000 times the major version of CUDA and 10 times the minor: STAND_IN_DRIVER_VERSION.
CUDA_API CUresult cuDriverGetVersion(int *version) {
    const char *set = std::getenv("STAND_IN_DRIVER_VERSION");
    *version = set && *set ? std::atoi(set) : 13000;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuDeviceGetCount(int *count) {
    return call("cuDeviceGetCount", Needs::init, [&](Driver &driver, Lock &) -> CUresult {
        *count = static_cast<int>(driver.devices.size());
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    return with_device("cuDeviceGet", ordinal, [&](Device &found, Driver &, Lock &) -> CUresult {
        *device = found.ordinal;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuDeviceGetName(char *name, int capacity, CUdevice device) {
    return with_device("cuDeviceGetName", device, [&](Device &found, Driver &, Lock &) -> CUresult {
        if (capacity < 1) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        std::size_t length = std::min(found.name.size(), static_cast<std::size_t>(capacity) - 1);
        std::copy_n(found.name.data(), length, name);
        name[length] = 0;
        return CUDA_SUCCESS;
    });
}

CUDA_API CUresult cuDeviceGetAttribute(int *value, int which, CUdevice device) {
    return with_device("cuDeviceGetAttribute", device,
                       [&](Device &found, Driver &, Lock &) -> CUresult {
                           *value = attribute(found, which);
                           return CUDA_SUCCESS;
                       });
}

CUDA_API CUresult cuDeviceTotalMem_v2(std::size_t *bytes, CUdevice device) {
    return with_device("cuDeviceTotalMem_v2", device,
                       [&](Device &found, Driver &, Lock &) -> CUresult {
                           *bytes = found.total;
                           return CUDA_SUCCESS;
                       });
}

CUDA_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    return with_device("cuDeviceGetUuid", device,
                       [&](Device &found, Driver &, Lock &) { return uuid_of(found, uuid); });
}

CUDA_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    return cuDeviceGetUuid(uuid, device);
}

CUDA_API CUresult cuDeviceGetPCIBusId(char *text, int capacity, CUdevice device) {
    return with_device("cuDeviceGetPCIBusId", device,
                       [&](Device &found, Driver &, Lock &) -> CUresult {
                           int length = std::snprintf(text, static_cast<std::size_t>(capacity),
                                                      "0000:%02x:00.0", found.ordinal + 1);
                           return length < capacity ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
                       });
}

CUDA_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    return with_device("cuDeviceComputeCapability", device,
                       [&](Device &found, Driver &, Lock &) -> CUresult {
                           *major = found.major;
                           *minor = found.minor;
                           return CUDA_SUCCESS;
                       });
}
