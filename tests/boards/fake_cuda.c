/* A CUDA driver without a GPU: memory is the host's, a launch computes nothing and is looked at
 * closely. It refuses what the driver of CUDA 10.2 on an sm_53 refuses: younger PTX, code for
 * another GPU, blocks larger than the kernel is compiled for, pointers that nobody has allocated.
 * Each launch leaves a line, "NAME GRID BLOCK", in the file that FAKE_CUDA_LOG names. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, UNSUPPORTED_PTX_VERSION = 222,
       NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_OUT_OF_RESOURCES = 701 };
enum { MOST = 4096, BLOCK_MOST = 1024 };

static struct { char* at; size_t size; } memory[MOST];
static int context;
struct kernel { char name[128]; int count; int sizes[64]; bool pointers[64]; unsigned threads; };

static bool allocated(const void* pointer) {
  for (int i = 0; i < MOST; ++i) {
    const char* at = memory[i].at;
    if (at != NULL && (const char*)pointer >= at && (const char*)pointer < at + memory[i].size) {
      return true;
    }
  }
  return false;
}

int cuInit(unsigned flags) { return flags == 0 ? 0 : INVALID_VALUE; }
int cuGetErrorName(int code, const char** name) {
  switch (code) {
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; return 0;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; return 0;
    case UNSUPPORTED_PTX_VERSION: *name = "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"; return 0;
    case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; return 0;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return 0;
    case LAUNCH_OUT_OF_RESOURCES: *name = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"; return 0;
    default: return INVALID_VALUE;
  }
}
int cuDriverGetVersion(int* version) { *version = 10020; return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
  (void)device;
  snprintf(name, (size_t)size, "Fake Tegra X1");
  return 0;
}
int cuDeviceGetAttribute(int* value, int which, int device) {
  (void)device;
  switch (which) {
    case 1: case 2: case 3: *value = BLOCK_MOST; return 0;
    case 4: *value = 64; return 0;
    case 8: *value = 49152; return 0;
    case 10: *value = 32; return 0;
    case 12: *value = 32768; return 0;
    case 16: *value = 1; return 0;
    case 75: *value = 5; return 0;
    case 76: *value = 3; return 0;
    default: *value = 0; return 0;
  }
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { (void)device; *bytes = 1u << 31; return 0; }
int cuDevicePrimaryCtxRetain(void** out, int device) { (void)device; *out = &context; return 0; }
int cuCtxSetCurrent(void* given) { return given == &context ? 0 : INVALID_VALUE; }
int cuMemGetInfo_v2(size_t* available, size_t* total) {
  *available = 1u << 30;
  *total = 1u << 31;
  return 0;
}
int cuMemAlloc_v2(unsigned long long* out, size_t size) {
  if (size == 0) return INVALID_VALUE;
  for (int i = 0; i < MOST; ++i) {
    if (memory[i].at != NULL) continue;
    memory[i].at = calloc(1, size);
    memory[i].size = size;
    if (memory[i].at == NULL) return OUT_OF_MEMORY;
    *out = (unsigned long long)(uintptr_t)memory[i].at;
    return 0;
  }
  return OUT_OF_MEMORY;
}
int cuMemFree_v2(unsigned long long at) {
  for (int i = 0; i < MOST; ++i) {
    if (memory[i].at != (char*)(uintptr_t)at) continue;
    free(memory[i].at);
    memory[i].at = NULL;
    return 0;
  }
  return INVALID_VALUE;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t size, void* stream) {
  (void)stream;
  if (!allocated((void*)(uintptr_t)to)) return INVALID_VALUE;
  memcpy((void*)(uintptr_t)to, from, size);
  return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t size, void* stream) {
  (void)stream;
  if (!allocated((void*)(uintptr_t)from)) return INVALID_VALUE;
  memcpy(to, (void*)(uintptr_t)from, size);
  return 0;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void* s) {
  (void)s;
  if (!allocated((void*)(uintptr_t)from) || !allocated((void*)(uintptr_t)to)) return INVALID_VALUE;
  memmove((void*)(uintptr_t)to, (void*)(uintptr_t)from, size);
  return 0;
}
int cuStreamCreate(void** stream, unsigned flags) { (void)flags; *stream = &context; return 0; }
int cuStreamDestroy_v2(void* stream) { (void)stream; return 0; }
int cuStreamSynchronize(void* stream) { (void)stream; return 0; }

int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options,
                       void** values) {
  const char* version = strstr(image, ".version ");
  int major = 0, minor = 0;
  if (version == NULL || sscanf(version, ".version %d.%d", &major, &minor) != 2) {
    return INVALID_IMAGE;
  }
  if (major * 10 + minor > 65) {
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] == 5) strcpy(values[i], "ptxas application ptx input, fatal: too new");
    }
    return UNSUPPORTED_PTX_VERSION;
  }
  if (strstr(image, ".target sm_53") == NULL) return INVALID_IMAGE;
  *module = strdup(image);
  return 0;
}

int cuModuleGetFunction(void** out, void* module, const char* name) {
  char wanted[160];
  snprintf(wanted, sizeof wanted, ".entry %s(", name);
  const char* at = strstr(module, wanted);
  if (at == NULL) return NOT_FOUND;
  struct kernel* kernel = calloc(1, sizeof *kernel);
  snprintf(kernel->name, sizeof kernel->name, "%s", name);
  const char* end = strchr(at, ')');
  for (const char* p = strstr(at, ".param ."); p != NULL && p < end; p = strstr(p + 1, ".param .")) {
    kernel->sizes[kernel->count] = atoi(p + 9) / 8;
    kernel->pointers[kernel->count++] = strncmp(p + 8, "u64 .ptr", 8) == 0;
  }
  unsigned threads = BLOCK_MOST;
  const char* bound = strstr(end, ".maxntid ");
  const char* body = strchr(end, '{');
  if (bound != NULL && bound < body) sscanf(bound, ".maxntid %u", &threads);
  kernel->threads = threads;
  *out = kernel;
  return 0;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void* stream, void** params, void** extra) {
  const struct kernel* kernel = function;
  (void)shared, (void)stream, (void)extra;
  if (bx * by * bz > kernel->threads) return LAUNCH_OUT_OF_RESOURCES;
  if (gx == 0 || gy > 65535 || gz > 65535) return INVALID_VALUE;
  for (int i = 0; i < kernel->count; ++i) {
    if (kernel->pointers[i] && !allocated(*(void**)params[i])) return ILLEGAL_ADDRESS;
  }
  const char* path = getenv("FAKE_CUDA_LOG");
  FILE* log = path != NULL ? fopen(path, "a") : NULL;
  if (log != NULL) {
    fprintf(log, "%s %u %u\n", kernel->name, gx * gy * gz, bx * by * bz);
    fclose(log);
  }
  return 0;
}
