/* TVM's device runtime for NVIDIA GPUs over nothing but their driver.
 *
 * The CUDA runtime library in TVM's wheel wants CUDA 13; a stock Jetson Nano has 10.2. The driver's
 * own interface has been stable since CUDA 4, is the same on every board, and is all that launching
 * PTX takes. So this needs no CUDA toolkit to be compiled: libcuda.so.1 is opened when it is first
 * used, and a board without one simply has no GPU.
 * https://docs.nvidia.com/cuda/cuda-driver-api/
 *
 * No C++ exception may leave this library: it is linked with another C++ runtime than TVM is. In a
 * function of TVM's FFI they become its errors; where TVM calls a virtual method, a failure of the
 * driver ends the process, which is one session's (a GPU that has faulted takes its context along).
 */
#include <dlfcn.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

namespace ffi = tvm::ffi;
using tvm::Device;
using tvm::runtime::DeviceAttrKind;

using Result = int;
using Address = unsigned long long;

#define DRIVER_FUNCTIONS(F)                                                                   \
  F(cuInit, unsigned)                                                                         \
  F(cuGetErrorName, Result, const char**)                                                     \
  F(cuDriverGetVersion, int*)                                                                 \
  F(cuDeviceGetCount, int*)                                                                   \
  F(cuDeviceGet, int*, int)                                                                   \
  F(cuDeviceGetName, char*, int, int)                                                         \
  F(cuDeviceGetAttribute, int*, int, int)                                                     \
  F(cuDeviceTotalMem_v2, size_t*, int)                                                        \
  F(cuDevicePrimaryCtxRetain, void**, int)                                                    \
  F(cuCtxSetCurrent, void*)                                                                   \
  F(cuMemGetInfo_v2, size_t*, size_t*)                                                        \
  F(cuMemAlloc_v2, Address*, size_t)                                                          \
  F(cuMemFree_v2, Address)                                                                    \
  F(cuMemcpyHtoDAsync_v2, Address, const void*, size_t, void*)                                \
  F(cuMemcpyDtoHAsync_v2, void*, Address, size_t, void*)                                      \
  F(cuMemcpyDtoDAsync_v2, Address, Address, size_t, void*)                                    \
  F(cuStreamCreate, void**, unsigned)                                                         \
  F(cuStreamDestroy_v2, void*)                                                                \
  F(cuStreamSynchronize, void*)                                                               \
  F(cuModuleLoadDataEx, void**, const void*, unsigned, int*, void**)                          \
  F(cuModuleGetFunction, void**, void*, const char*)                                          \
  F(cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
    void*, void**, void**)

struct Driver {
#define DECLARE(name, ...) Result (*name)(__VA_ARGS__) = nullptr;
  DRIVER_FUNCTIONS(DECLARE)
#undef DECLARE
  int devices = 0;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    bool whole = true;
#define FIND(name, ...)                                                 \
  name = reinterpret_cast<Result (*)(__VA_ARGS__)>(dlsym(library, #name)); \
  whole = whole && name != nullptr;
    DRIVER_FUNCTIONS(FIND)
#undef FIND
    if (!whole || cuInit(0) != 0 || cuDeviceGetCount(&devices) != 0) devices = 0;
  }

  std::string error(Result code) const {
    const char* name = nullptr;
    if (cuGetErrorName(code, &name) != 0 || name == nullptr) return std::to_string(code);
    return name;
  }
};

/* Opened by the first session that asks, not by the server: a context does not survive a fork. */
const Driver& driver() {
  static const Driver opened;
  return opened;
}

#define MUST(name, ...)                                                                     \
  do {                                                                                      \
    Result code_ = driver().name(__VA_ARGS__);                                              \
    if (code_ != 0) {                                                                       \
      std::fprintf(stderr, "tvmkd-board: cuda: " #name ": %s\n", driver().error(code_).c_str()); \
      _exit(1);                                                                             \
    }                                                                                       \
  } while (0)

#define TRY(name, ...)                                                                      \
  do {                                                                                      \
    Result code_ = driver().name(__VA_ARGS__);                                              \
    if (code_ != 0) TVM_FFI_THROW(RuntimeError) << #name ": " << driver().error(code_);     \
  } while (0)

thread_local int current = 0;
thread_local void* stream_in_use = nullptr;

int attribute(int device, int which) {
  int value = 0;
  MUST(cuDeviceGetAttribute, &value, which, device);
  return value;
}

class Gpu final : public tvm::runtime::DeviceAPI {
 public:
  void SetDevice(Device dev) final {
    if (dev.device_id < 0 || dev.device_id >= driver().devices) {
      std::fprintf(stderr, "tvmkd-board: cuda: there is no GPU %d here\n", dev.device_id);
      _exit(1);
    }
    current = dev.device_id;
    auto found = contexts_.find(current);
    if (found == contexts_.end()) {
      void* context = nullptr;
      MUST(cuDevicePrimaryCtxRetain, &context, current);
      found = contexts_.emplace(current, context).first;
    }
    MUST(cuCtxSetCurrent, found->second);
  }

  void GetAttr(Device dev, DeviceAttrKind kind, ffi::Any* value) final {
    const int device = dev.device_id;
    if (kind == DeviceAttrKind::kExist) {
      *value = static_cast<int64_t>(device >= 0 && device < driver().devices);
      return;
    }
    SetDevice(dev);
    char text[256] = "";
    int number = 0;
    size_t bytes = 0, free = 0;
    switch (kind) { /* the numbers are those of CUdevice_attribute */
      case DeviceAttrKind::kMaxThreadsPerBlock: *value = int64_t{attribute(device, 1)}; return;
      case DeviceAttrKind::kWarpSize: *value = int64_t{attribute(device, 10)}; return;
      case DeviceAttrKind::kMaxSharedMemoryPerBlock: *value = int64_t{attribute(device, 8)}; return;
      case DeviceAttrKind::kMaxClockRate: *value = int64_t{attribute(device, 13)}; return;
      case DeviceAttrKind::kMultiProcessorCount: *value = int64_t{attribute(device, 16)}; return;
      case DeviceAttrKind::kMaxRegistersPerBlock: *value = int64_t{attribute(device, 12)}; return;
      case DeviceAttrKind::kL2CacheSizeBytes: *value = int64_t{attribute(device, 38)}; return;
      case DeviceAttrKind::kComputeVersion:
        std::snprintf(text, sizeof text, "%d.%d", attribute(device, 75), attribute(device, 76));
        *value = ffi::String(text);
        return;
      case DeviceAttrKind::kMaxThreadDimensions:
        std::snprintf(text, sizeof text, "[%d, %d, %d]", attribute(device, 2), attribute(device, 3),
                      attribute(device, 4));
        *value = ffi::String(text);
        return;
      case DeviceAttrKind::kDeviceName:
        MUST(cuDeviceGetName, text, sizeof text, device);
        *value = ffi::String(text);
        return;
      case DeviceAttrKind::kApiVersion:
      case DeviceAttrKind::kDriverVersion:
        MUST(cuDriverGetVersion, &number);
        *value = int64_t{number};
        return;
      case DeviceAttrKind::kTotalGlobalMemory:
        MUST(cuDeviceTotalMem_v2, &bytes, device);
        *value = static_cast<int64_t>(bytes);
        return;
      case DeviceAttrKind::kAvailableGlobalMemory:
        MUST(cuMemGetInfo_v2, &free, &bytes);
        *value = static_cast<int64_t>(free);
        return;
      default: return;
    }
  }

  void* AllocDataSpace(Device dev, size_t bytes, size_t, DLDataType) final {
    SetDevice(dev);
    Address address = 0;
    MUST(cuMemAlloc_v2, &address, bytes > 0 ? bytes : 1); /* aligned to 256 bytes at least */
    return reinterpret_cast<void*>(address);
  }

  void FreeDataSpace(Device dev, void* pointer) final {
    SetDevice(dev);
    MUST(cuMemFree_v2, reinterpret_cast<Address>(pointer));
  }

  TVMStreamHandle CreateStream(Device dev) final {
    SetDevice(dev);
    void* stream = nullptr;
    MUST(cuStreamCreate, &stream, 1); /* CU_STREAM_NON_BLOCKING */
    return stream;
  }

  void FreeStream(Device dev, TVMStreamHandle stream) final {
    SetDevice(dev);
    MUST(cuStreamDestroy_v2, stream);
  }

  void StreamSync(Device dev, TVMStreamHandle stream) final {
    SetDevice(dev);
    MUST(cuStreamSynchronize, stream);
  }

  void SetStream(Device, TVMStreamHandle stream) final { stream_in_use = stream; }
  TVMStreamHandle GetCurrentStream(Device) final { return stream_in_use; }

 protected:
  void CopyDataFromTo(const void* from, size_t from_offset, void* to, size_t to_offset, size_t size,
                      Device dev_from, Device dev_to, DLDataType, TVMStreamHandle stream) final {
    const char* source = static_cast<const char*>(from) + from_offset;
    char* sink = static_cast<char*>(to) + to_offset;
    const bool up = dev_from.device_type == kDLCPU, down = dev_to.device_type == kDLCPU;
    SetDevice(up ? dev_to : dev_from);
    if (up) {
      MUST(cuMemcpyHtoDAsync_v2, reinterpret_cast<Address>(sink), source, size, stream);
    } else if (down) {
      MUST(cuMemcpyDtoHAsync_v2, sink, reinterpret_cast<Address>(source), size, stream);
    } else {
      MUST(cuMemcpyDtoDAsync_v2, reinterpret_cast<Address>(sink),
           reinterpret_cast<Address>(source), size, stream);
    }
    if (up || down) MUST(cuStreamSynchronize, stream); /* the host's memory may go at once */
  }

 private:
  std::map<int, void*> contexts_;
};

Gpu* gpu() {
  static Gpu* const only = new Gpu(); /* never destroyed: the driver may be gone before it */
  return only;
}

/* One GPU function: what it takes, and how its grid follows from its last arguments. */
struct Kernel {
  std::string symbol;
  std::vector<DLDataType> types;
  std::vector<int> axes; /* blockIdx.x, y, z, then threadIdx.x, y, z; -1: dynamic shared memory */
};

/* What TVM's code generator has saved: numbers are little endian, lengths have eight bytes. */
class Reader {
 public:
  explicit Reader(const ffi::Bytes& bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  std::string text() {
    const uint64_t size = number<uint64_t>();
    return std::string(take(size), size);
  }

 private:
  const char* take(uint64_t size) {
    if (size > static_cast<uint64_t>(end_ - at_)) {
      TVM_FFI_THROW(ValueError) << "the CUDA code in this library is cut short";
    }
    const char* here = at_;
    at_ += size;
    return here;
  }
  const char* at_;
  const char* end_;
};

int axis_of(const std::string& tag) {
  static const char* const names[] = {"blockIdx.x",  "blockIdx.y",  "blockIdx.z",
                                      "threadIdx.x", "threadIdx.y", "threadIdx.z"};
  for (int axis = 0; axis < 6; ++axis) {
    if (tag == names[axis]) return axis;
  }
  if (tag == "tirx.use_dyn_shared_memory") return -1;
  TVM_FFI_THROW(ValueError) << "a kernel is launched by \"" << tag << "\", which this GPU lacks";
  return 0;
}

class CudaModule final : public ffi::ModuleObj {
 public:
  explicit CudaModule(const ffi::Bytes& bytes) {
    Reader reader(bytes);
    const std::string format = reader.text();
    for (uint64_t left = reader.number<uint64_t>(); left > 0; --left) {
      const std::string name = reader.text();
      Kernel kernel{reader.text(), {}, {}};
      for (uint64_t n = reader.number<uint64_t>(); n > 0; --n) {
        DLDataType type;
        type.code = reader.number<uint8_t>();
        type.bits = reader.number<uint8_t>();
        type.lanes = reader.number<uint16_t>();
        kernel.types.push_back(type);
      }
      for (uint64_t n = reader.number<uint64_t>(); n > 0; --n) {
        kernel.axes.push_back(axis_of(reader.text()));
      }
      for (uint64_t n = reader.number<uint64_t>(); n > 0; --n) reader.number<int32_t>();
      kernels_[name] = kernel;
    }
    code_ = reader.text();
    if (code_.find(".entry") == std::string::npos) {
      TVM_FFI_THROW(ValueError) << "holds CUDA code as \"" << format
                                << "\" and no PTX: build it with tvmkd";
    }
  }

  const char* kind() const final { return "cuda"; }
  int GetPropertyMask() const final { return ffi::Module::kRunnable; }

  ffi::Optional<ffi::Function> GetFunction(const ffi::String& name) final {
    const auto found = kernels_.find(std::string(name));
    if (found == kernels_.end()) return std::nullopt;
    const ffi::ObjectPtr<ffi::Object> self =
        ffi::details::ObjectUnsafe::ObjectPtrFromUnowned<ffi::Object>(this); /* keeps the kernel alive */
    const Kernel* kernel = &found->second;
    return ffi::Function::FromPacked([this, self, kernel](ffi::PackedArgs args, ffi::Any*) {
      launch(*kernel, args);
    });
  }

 private:
  void* function(const std::string& symbol) {
    if (driver().devices == 0) TVM_FFI_THROW(RuntimeError) << "there is no GPU on this board";
    gpu()->SetDevice(Device{kDLCUDA, current});
    void*& function = functions_[{current, symbol}];
    if (function != nullptr) return function;
    void*& module = modules_[current];
    if (module == nullptr) {
      char log[2048] = "";
      int options[] = {5, 6}; /* CU_JIT_ERROR_LOG_BUFFER, its size */
      void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
      Result code = driver().cuModuleLoadDataEx(&module, code_.c_str(), 2, options, values);
      if (code != 0) {
        module = nullptr;
        log[std::strcspn(log, "\r\n")] = '\0'; /* an error has one line, the host reads the last */
        TVM_FFI_THROW(RuntimeError) << "cuModuleLoadDataEx: " << driver().error(code) << " " << log;
      }
    }
    TRY(cuModuleGetFunction, &function, module, symbol.c_str());
    return function;
  }

  void launch(const Kernel& kernel, ffi::PackedArgs args) {
    const size_t count = kernel.types.size();
    if (static_cast<size_t>(args.size()) != count + kernel.axes.size()) {
      TVM_FFI_THROW(TypeError) << kernel.symbol << " takes " << count + kernel.axes.size()
                               << " arguments, not " << args.size();
    }
    const auto* raw = reinterpret_cast<const TVMFFIAny*>(args.data());
    std::vector<uint64_t> values(count);
    std::vector<void*> pointers(count);
    for (size_t i = 0; i < count; ++i) {
      const DLDataType type = kernel.types[i];
      pointers[i] = &values[i];
      if (type.code == kDLFloat && type.bits == 32) {
        const float narrow = static_cast<float>(args[i].cast<double>());
        std::memcpy(&values[i], &narrow, sizeof narrow);
      } else if (type.code == kDLFloat && type.bits != 64) {
        TVM_FFI_THROW(TypeError) << kernel.symbol << " takes a float of " << int{type.bits}
                                 << " bits by value";
      } else { /* integers of any width are read from the low end */
        values[i] = raw[i].v_uint64;
      }
    }
    unsigned size[6] = {1, 1, 1, 1, 1, 1}, shared = 0;
    for (size_t i = 0; i < kernel.axes.size(); ++i) {
      const auto value = static_cast<unsigned>(raw[count + i].v_int64);
      if (kernel.axes[i] < 0) {
        shared = value;
      } else if (value > 0) {
        size[kernel.axes[i]] = value;
      }
    }
    void* entry = function(kernel.symbol);
    Result code = driver().cuLaunchKernel(entry, size[0], size[1], size[2], size[3], size[4],
                                          size[5], shared, stream_in_use, pointers.data(), nullptr);
    if (code != 0) {
      TVM_FFI_THROW(RuntimeError) << kernel.symbol << ": " << driver().error(code) << ", grid ("
                                  << size[0] << ", " << size[1] << ", " << size[2] << "), block ("
                                  << size[3] << ", " << size[4] << ", " << size[5] << ")";
    }
  }

  std::map<std::string, Kernel> kernels_;
  std::string code_;
  std::map<int, void*> modules_;
  std::map<std::pair<int, std::string>, void*> functions_;
};

/* Why the GPU cannot take so many bytes now; empty if it can. What is free is no answer: on Tegra
 * the system gives back what it has cached. */
ffi::String lacks(int64_t bytes) {
  const Driver& cuda = driver();
  if (cuda.devices == 0) return "there is none";
  void* context = nullptr;
  Address address = 0;
  const char* call = "cuDevicePrimaryCtxRetain";
  Result code = cuda.cuDevicePrimaryCtxRetain(&context, current);
  if (code == 0) {
    call = "cuCtxSetCurrent";
    code = cuda.cuCtxSetCurrent(context);
  }
  if (code == 0) {
    call = "cuMemAlloc";
    code = cuda.cuMemAlloc_v2(&address, static_cast<size_t>(bytes));
  }
  if (code != 0) return std::string(call) + ": " + cuda.error(code);
  cuda.cuMemFree_v2(address);
  return "";
}

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace refl = tvm::ffi::reflection;
  refl::GlobalDef()
      .def_packed("device_api.cuda",
                  [](ffi::PackedArgs, ffi::Any* result) {
                    *result = static_cast<void*>(static_cast<tvm::runtime::DeviceAPI*>(gpu()));
                  })
      .def("tvmkd.board.gpu_lacks", lacks)
      .def("ffi.Module.load_from_bytes.cuda", [](const ffi::Bytes& bytes) {
        return ffi::Module(ffi::make_object<CudaModule>(bytes));
      });
}

}  // namespace
