/* A CUDA driver without a GPU: memory is the host's, and every call is looked at closely. It refuses
 * what the driver of CUDA 10.2 on an sm_53 refuses: younger PTX, code for another GPU, blocks larger
 * than the kernel is compiled for, pointers that nobody has allocated, calls without a context.
 *
 * What is put into a stream is done when somebody waits for it and not before. The environment:
 *   FAKE_CUDA_COMPUTES  kernels are computed (fake_ptx.c); otherwise they do nothing.
 *   FAKE_CUDA_LOG       a file: "NAME GRID BLOCK" of each kernel that has run.
 *   FAKE_CUDA_TRACE     a file: a line for each call; "+" or "-" and the kind of what it makes or
 *                       removes.
 *   FAKE_CUDA_FAIL      "NAME:N:CODE": the N-th call of this function returns this error;
 *                       "NAME:N:CODE:sticky": so do all calls after it, as after a faulty kernel.
 *   FAKE_CUDA_HANG      a kernel never ends.
 *   FAKE_CUDA_ONCE      a file: FAIL and HANG befall only the process that makes it.
 *   FAKE_CUDA_MEMORY    bytes of the GPU's memory that this process can have.
 *   FAKE_CUDA_VERSION   1000 times the major version of CUDA and 10 times the minor one.
 *   FAKE_CUDA_DISCRETE  the GPU has memory of its own; Tegra's has not.
 * Compiled with WITHOUT_GRAPHS it is a driver before CUDA 10.1. */
#include "fake_cuda.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200,
       INVALID_CONTEXT = 201, UNSUPPORTED_PTX_VERSION = 222, INVALID_HANDLE = 400,
       NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_OUT_OF_RESOURCES = 701,
       CAPTURE_UNSUPPORTED = 900 };
enum { MOST = 4096, BLOCK_MOST = 1024, MOST_PARAMS = 64, MOST_NAMES = 64 };

struct stream;
static struct { char* at; size_t size; bool managed; struct stream* only; } memory[MOST];
static int context, default_context_users;
static _Thread_local int depth; /* contexts that this thread has pushed or set */

struct operation {
  struct operation* next;
  const struct kernel* kernel; /* or NULL: a copy */
  unsigned grid[3], block[3], shared;
  uint64_t params[MOST_PARAMS];
  void* to;
  const void* from;
  size_t size;
};
struct queue { struct operation *first, *last; };
struct stream { struct queue queue; bool capturing; struct stream* next; };
static struct stream default_stream;
static struct stream* streams;

static void trace(const char* format, ...) {
  const char* path = getenv("FAKE_CUDA_TRACE");
  FILE* file = path != NULL ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  va_list values;
  va_start(values, format);
  vfprintf(file, format, values);
  va_end(values);
  fclose(file);
}

/* Whether a fault of the environment is this process's. */
static bool befalls(void) {
  static int mine; /* 0: not known */
  const char* path = getenv("FAKE_CUDA_ONCE");
  if (path == NULL) return true;
  if (mine == 0) {
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file >= 0) close(file);
    mine = file >= 0 ? 1 : -1;
  }
  return mine > 0;
}

/* The error that the environment has for this call, or 0. */
static int entered(const char* name) {
  static struct { const char* name; int count; } calls[MOST_NAMES];
  static int stuck;
  if (stuck != 0) return stuck;
  int which = 0, wanted = 0, code = 0;
  while (calls[which].name != NULL && strcmp(calls[which].name, name) != 0) ++which;
  calls[which].name = name;
  int count = ++calls[which].count;
  const char* plan = getenv("FAKE_CUDA_FAIL");
  size_t length = strlen(name);
  if (plan == NULL || strncmp(plan, name, length) != 0) return 0;
  if (sscanf(plan + length, ":%d:%d", &wanted, &code) != 2) return 0;
  if (wanted != count || !befalls()) return 0;
  if (strstr(plan, ":sticky") != NULL) stuck = code;
  return code;
}
/* One call at a time, whatever the thread. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int lock(void) { return pthread_mutex_lock(&mutex); }
static void unlock(int* locked) {
  (void)locked;
  pthread_mutex_unlock(&mutex);
}

#define ENTER(...)                     \
  __attribute__((cleanup(unlock), unused)) int locked_ = lock(); \
  do {                                 \
    int code_ = entered(__func__);     \
    if (code_ != 0) {                  \
      trace("%s failed\n", __func__);  \
      return code_;                    \
    }                                  \
    trace(__VA_ARGS__);                \
  } while (0)
#define ENTER_CONTEXT(...) \
  ENTER(__VA_ARGS__);      \
  if (depth == 0) return INVALID_CONTEXT

static bool is_in(int piece, const char* pointer) {
  const char* at = memory[piece].at;
  return at != NULL && pointer >= at && pointer < at + memory[piece].size;
}

static int piece_of(const void* pointer) {
  static int last;
  if (is_in(last, pointer)) return last;
  for (int i = 0; i < MOST; ++i) {
    if (is_in(i, pointer)) return last = i;
  }
  return -1;
}

bool fake_cuda_holds(const void* pointer, size_t size) {
  int piece = piece_of(pointer);
  return piece >= 0 && (const char*)pointer + size <= memory[piece].at + memory[piece].size;
}

static void done(const struct operation* each) {
  if (each->kernel == NULL) {
    memmove(each->to, each->from, each->size);
    return;
  }
  while (getenv("FAKE_CUDA_HANG") != NULL && befalls()) sleep(1);
  const char* path = getenv("FAKE_CUDA_LOG");
  FILE* log = path != NULL ? fopen(path, "a") : NULL;
  if (log != NULL) {
    fprintf(log, "%s %u %u\n", each->kernel->name, each->grid[0] * each->grid[1] * each->grid[2],
            each->block[0] * each->block[1] * each->block[2]);
    fclose(log);
  }
  if (getenv("FAKE_CUDA_COMPUTES") != NULL) {
    fake_ptx_run(each->kernel, each->grid, each->block, each->shared, each->params);
  }
}

static struct operation* add(struct queue* queue, const struct operation* given) {
  struct operation* made = malloc(sizeof *made);
  if (made == NULL) abort();
  *made = *given;
  made->next = NULL;
  if (queue->last != NULL) queue->last->next = made;
  else queue->first = made;
  queue->last = made;
  return made;
}

static void finish(struct queue* queue, bool run) {
  while (queue->first != NULL) {
    struct operation* each = queue->first;
    if (run) done(each);
    queue->first = each->next;
    free(each);
  }
  queue->last = NULL;
}

static void finish_all(void) {
  finish(&default_stream.queue, true);
  for (struct stream* each = streams; each != NULL; each = each->next) {
    if (!each->capturing) finish(&each->queue, true);
  }
}

static struct stream* stream_of(void* given) {
  if (given == NULL) return &default_stream;
  for (struct stream* each = streams; each != NULL; each = each->next) {
    if (each == given) return each;
  }
  return NULL;
}

int cuInit(unsigned flags) {
  ENTER("cuInit\n");
  return flags == 0 ? 0 : INVALID_VALUE;
}
int cuGetErrorName(int code, const char** name) {
  switch (code) {
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; return 0;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return 0;
    case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; return 0;
    case INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; return 0;
    case UNSUPPORTED_PTX_VERSION: *name = "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"; return 0;
    case INVALID_HANDLE: *name = "CUDA_ERROR_INVALID_HANDLE"; return 0;
    case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; return 0;
    case NOT_READY: *name = "CUDA_ERROR_NOT_READY"; return 0;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return 0;
    case LAUNCH_OUT_OF_RESOURCES: *name = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"; return 0;
    case CAPTURE_UNSUPPORTED: *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; return 0;
    default: return INVALID_VALUE;
  }
}
/* NVRTC asks for functions that are not documented; a table begins with its size. */
int cuGetExportTable(const void** out, const void* which) {
  static const size_t empty = sizeof empty;
  (void)which;
  *out = &empty;
  return 0;
}
int cuDriverGetVersion(int* version) {
  const char* given = getenv("FAKE_CUDA_VERSION");
  *version = given != NULL ? atoi(given) : 10020;
  return 0;
}
int cuDeviceGetCount(int* count) {
  ENTER("cuDeviceGetCount\n");
  *count = 1;
  return 0;
}
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
  (void)device;
  snprintf(name, (size_t)size, "Fake Tegra X1");
  return 0;
}
int cuDeviceGetUuid(void* bytes, int device) {
  (void)device;
  memset(bytes, 7, 16);
  return 0;
}
int cuDeviceGetAttribute(int* value, int which, int device) {
  const char* capability = getenv("FAKE_CUDA_CAPABILITY");
  int number = capability != NULL ? atoi(capability) : 53;
  (void)device;
  switch (which) {
    case 1: case 2: case 3: *value = BLOCK_MOST; return 0;
    case 4: *value = 64; return 0;
    case 8: *value = 49152; return 0;
    case 10: *value = 32; return 0;
    case 12: *value = 32768; return 0;
    case 16: *value = 1; return 0;
    case 36: *value = 1600000; return 0;
    case 37: *value = 64; return 0;
    case 18: case 83: *value = getenv("FAKE_CUDA_DISCRETE") == NULL; return 0;
    case 75: *value = number / 10; return 0;
    case 76: *value = number % 10; return 0;
    default: *value = 0; return 0;
  }
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { (void)device; *bytes = 1u << 31; return 0; }

int cuDevicePrimaryCtxRetain(void** out, int device) {
  ENTER("cuDevicePrimaryCtxRetain +context\n");
  (void)device;
  ++default_context_users;
  *out = &context;
  return 0;
}
int cuDevicePrimaryCtxRelease(int device) {
  ENTER("cuDevicePrimaryCtxRelease -context\n");
  (void)device;
  return default_context_users-- > 0 ? 0 : INVALID_CONTEXT;
}
int cuCtxSetCurrent(void* given) {
  depth = given != NULL;
  return given == NULL || given == &context ? 0 : INVALID_VALUE;
}
int cuCtxPushCurrent_v2(void* given) {
  ENTER("cuCtxPushCurrent_v2\n");
  if (given != &context || default_context_users == 0) return INVALID_CONTEXT;
  ++depth;
  return 0;
}
int cuCtxPopCurrent_v2(void** out) {
  ENTER("cuCtxPopCurrent_v2\n");
  *out = &context;
  return depth-- > 0 ? 0 : INVALID_CONTEXT;
}

static size_t left(void) {
  const char* most = getenv("FAKE_CUDA_MEMORY");
  size_t all = most != NULL ? (size_t)atoll(most) : 1u << 30, taken = 0;
  for (int i = 0; i < MOST; ++i) taken += memory[i].at != NULL ? memory[i].size : 0;
  return taken < all ? all - taken : 0;
}

int cuMemGetInfo_v2(size_t* available, size_t* total) {
  *available = left();
  *total = 1u << 31;
  return 0;
}
static int take(unsigned long long* out, size_t size, bool managed) {
  if (size == 0) return INVALID_VALUE;
  if (size > left()) return OUT_OF_MEMORY;
  for (int i = 0; i < MOST; ++i) {
    if (memory[i].at != NULL) continue;
    memory[i].at = aligned_alloc(256, (size + 255) / 256 * 256);
    if (memory[i].at == NULL) return OUT_OF_MEMORY;
    memset(memory[i].at, 0xA5, size); /* a GPU clears nothing */
    memory[i].size = size;
    memory[i].managed = managed;
    memory[i].only = NULL;
    *out = (unsigned long long)(uintptr_t)memory[i].at;
    return 0;
  }
  return OUT_OF_MEMORY;
}
int cuMemAlloc_v2(unsigned long long* out, size_t size) {
  ENTER_CONTEXT("cuMemAlloc_v2 %zu +memory\n", size);
  return take(out, size, false);
}
int cuMemAllocManaged(unsigned long long* out, size_t size, unsigned flags) {
  ENTER_CONTEXT("cuMemAllocManaged %zu %u +memory\n", size, flags);
  return flags == 1 || flags == 2 ? take(out, size, true) : INVALID_VALUE;
}
int cuStreamAttachMemAsync(void* given, unsigned long long at, size_t length, unsigned flags) {
  ENTER_CONTEXT("cuStreamAttachMemAsync %u\n", flags);
  struct stream* stream = stream_of(given);
  int piece = piece_of((void*)(uintptr_t)at);
  if (stream == NULL || piece < 0 || length != 0) return INVALID_VALUE;
  if (!memory[piece].managed || flags != 4) return INVALID_VALUE;
  memory[piece].only = stream;
  return 0;
}
int cuMemFree_v2(unsigned long long at) {
  ENTER_CONTEXT("cuMemFree_v2 -memory\n");
  finish_all();
  for (int i = 0; i < MOST; ++i) {
    if (memory[i].at == NULL || memory[i].at != (char*)(uintptr_t)at) continue;
    free(memory[i].at);
    memory[i].at = NULL;
    return 0;
  }
  return INVALID_VALUE;
}

static int copy(void* to, const void* from, size_t size, void* given) {
  struct stream* stream = stream_of(given);
  if (stream == NULL) return INVALID_HANDLE;
  add(&stream->queue, &(struct operation){.to = to, .from = from, .size = size});
  return 0;
}
int cuMemcpyHtoD_v2(unsigned long long to, const void* from, size_t size) {
  ENTER_CONTEXT("cuMemcpyHtoD_v2 %zu\n", size);
  if (!fake_cuda_holds((void*)(uintptr_t)to, size)) return INVALID_VALUE;
  return copy((void*)(uintptr_t)to, from, size, NULL);
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t size, void* stream) {
  ENTER_CONTEXT("cuMemcpyHtoDAsync_v2 %zu\n", size);
  if (!fake_cuda_holds((void*)(uintptr_t)to, size)) return INVALID_VALUE;
  return copy((void*)(uintptr_t)to, from, size, stream);
}
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t size, void* stream) {
  ENTER_CONTEXT("cuMemcpyDtoHAsync_v2 %zu\n", size);
  if (!fake_cuda_holds((void*)(uintptr_t)from, size)) return INVALID_VALUE;
  return copy(to, (void*)(uintptr_t)from, size, stream);
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void* s) {
  ENTER_CONTEXT("cuMemcpyDtoDAsync_v2 %zu\n", size);
  if (!fake_cuda_holds((void*)(uintptr_t)from, size)) return INVALID_VALUE;
  if (!fake_cuda_holds((void*)(uintptr_t)to, size)) return INVALID_VALUE;
  return copy((void*)(uintptr_t)to, (void*)(uintptr_t)from, size, s);
}

int cuStreamCreate(void** stream, unsigned flags) {
  ENTER_CONTEXT("cuStreamCreate %u +stream\n", flags);
  struct stream* made = calloc(1, sizeof *made);
  made->next = streams;
  *stream = streams = made;
  return 0;
}
int cuStreamDestroy_v2(void* given) {
  ENTER_CONTEXT("cuStreamDestroy_v2 -stream\n");
  struct stream** place = &streams;
  while (*place != NULL && *place != given) place = &(*place)->next;
  if (*place == NULL) return INVALID_HANDLE;
  *place = ((struct stream*)given)->next;
  finish(&((struct stream*)given)->queue, true);
  free(given);
  return 0;
}
int cuStreamSynchronize(void* given) {
  ENTER_CONTEXT("cuStreamSynchronize\n");
  struct stream* stream = stream_of(given);
  if (stream == NULL) return INVALID_HANDLE;
  if (stream->capturing) return CAPTURE_UNSUPPORTED;
  finish(&stream->queue, true);
  return 0;
}

struct event { struct stream* stream; int asked; };
int cuEventCreate(void** event, unsigned flags) {
  ENTER_CONTEXT("cuEventCreate %u +event\n", flags);
  *event = calloc(1, sizeof(struct event));
  return 0;
}
int cuEventDestroy_v2(void* event) {
  ENTER_CONTEXT("cuEventDestroy_v2 -event\n");
  free(event);
  return 0;
}
int cuEventRecord(void* event, void* stream) {
  ENTER_CONTEXT("cuEventRecord\n");
  if (stream_of(stream) == NULL) return INVALID_HANDLE;
  *(struct event*)event = (struct event){stream_of(stream), 0};
  return 0;
}
int cuStreamWaitEvent(void* given, void* event, unsigned flags) {
  ENTER_CONTEXT("cuStreamWaitEvent\n");
  struct stream* first = ((struct event*)event)->stream;
  if (stream_of(given) == NULL || flags != 0) return INVALID_VALUE;
  if (first != NULL && first != stream_of(given)) finish(&first->queue, true);
  return 0;
}
/* Ready at the third query. */
int cuEventQuery(void* given) {
  ENTER_CONTEXT("cuEventQuery\n");
  struct event* event = given;
  if (event->stream == NULL || event->stream->queue.first == NULL) return 0;
  if (++event->asked < 3) return NOT_READY;
  finish(&event->stream->queue, true);
  return 0;
}
int cuEventSynchronize(void* given) {
  ENTER_CONTEXT("cuEventSynchronize\n");
  struct event* event = given;
  if (event->stream != NULL) finish(&event->stream->queue, true);
  return 0;
}

int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options,
                       void** values) {
  ENTER_CONTEXT("cuModuleLoadDataEx\n");
  const char* version = strstr(image, ".version ");
  int major = 0, minor = 0;
  if (version == NULL || sscanf(version, ".version %d.%d", &major, &minor) != 2) {
    return INVALID_IMAGE;
  }
  if (major * 10 + minor > 65) {
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] == 5) strcpy(values[i], "ptxas application ptx input, fatal: too new\nmore");
    }
    return UNSUPPORTED_PTX_VERSION;
  }
  if (strstr(image, ".target sm_53") == NULL) return INVALID_IMAGE;
  struct module* made = calloc(1, sizeof *made);
  made->text = strdup(image);
  trace("+module\n");
  *module = made;
  return 0;
}
int cuModuleUnload(void* given) {
  ENTER_CONTEXT("cuModuleUnload -module\n");
  struct module* module = given;
  finish_all();
  while (module->kernels != NULL) {
    struct kernel* next = module->kernels->next;
    fake_ptx_free(module->kernels->code);
    free(module->kernels);
    module->kernels = next;
  }
  free(module->text);
  free(module);
  return 0;
}

/* Whether a parameter is an address: it is loaded into a register and made one of global memory. */
static bool is_pointer(const struct kernel* kernel, int number) {
  char wanted[200];
  snprintf(wanted, sizeof wanted, ", [%s_param_%d];", kernel->name, number);
  const char* load = strstr(kernel->body, wanted);
  if (load == NULL) return false;
  const char* name = load;
  while (name > kernel->body && name[-1] != '%') --name;
  snprintf(wanted, sizeof wanted, ", %%%.*s;", (int)(load - name), name);
  for (const char* p = strstr(load, "cvta.to.global.u64"); p != NULL;
       p = strstr(p + 1, "cvta.to.global.u64")) {
    const char* used = strstr(p, wanted);
    if (used != NULL && used < strchr(p, ';')) return true;
  }
  return false;
}

int cuModuleGetFunction(void** out, void* given, const char* name) {
  ENTER_CONTEXT("cuModuleGetFunction %s\n", name);
  struct module* module = given;
  char wanted[160];
  snprintf(wanted, sizeof wanted, ".entry %s(", name);
  const char* at = strstr(module->text, wanted);
  if (at == NULL) return NOT_FOUND;
  struct kernel* kernel = calloc(1, sizeof *kernel);
  kernel->next = module->kernels;
  kernel->module = module;
  module->kernels = kernel;
  snprintf(kernel->name, sizeof kernel->name, "%s", name);
  const char* end = strchr(at, ')');
  for (const char* p = strstr(at, ".param ."); p != NULL && p < end; p = strstr(p + 1, ".param .")) {
    if (kernel->count == MOST_PARAMS) return INVALID_IMAGE;
    kernel->sizes[kernel->count++] = atoi(p + 9) / 8;
  }
  unsigned threads = BLOCK_MOST;
  const char* bound = strstr(end, ".maxntid ");
  kernel->body = strchr(end, '{');
  for (int i = 0; i < kernel->count; ++i) kernel->pointers[i] = is_pointer(kernel, i);
  if (bound != NULL && bound < kernel->body) sscanf(bound, ".maxntid %u", &threads);
  kernel->threads = threads;
  *out = kernel;
  return 0;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void* given, void** params, void** extra) {
  const struct kernel* kernel = function;
  ENTER_CONTEXT("cuLaunchKernel %s %u,%u,%u %u,%u,%u %u\n", kernel->name, gx, gy, gz, bx, by, bz,
                shared);
  (void)extra;
  struct stream* stream = stream_of(given);
  if (stream == NULL) return INVALID_HANDLE;
  if (bx * by * bz > kernel->threads) return LAUNCH_OUT_OF_RESOURCES;
  if (gx == 0 || gy > 65535 || gz > 65535) return INVALID_VALUE;
  struct operation made = {.kernel = kernel, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
  made.shared = shared;
  for (int i = 0; i < kernel->count; ++i) {
    memcpy(&made.params[i], params[i], (size_t)kernel->sizes[i]);
    if (!kernel->pointers[i]) continue;
    int piece = piece_of((void*)(uintptr_t)made.params[i]);
    if (piece < 0) return ILLEGAL_ADDRESS;
    if (memory[piece].managed && memory[piece].only != stream) return ILLEGAL_ADDRESS;
  }
  add(&stream->queue, &made);
  return 0;
}

#ifndef WITHOUT_GRAPHS
int cuStreamIsCapturing(void* given, int* status) {
  struct stream* stream = stream_of(given);
  if (stream == NULL) return INVALID_HANDLE;
  *status = stream->capturing;
  return 0;
}
struct graph { struct queue queue; };

int cuStreamBeginCapture_v2(void* given, int mode) {
  ENTER_CONTEXT("cuStreamBeginCapture_v2 %d\n", mode);
  struct stream* stream = stream_of(given);
  if (stream == NULL || stream == &default_stream || stream->capturing) return INVALID_HANDLE;
  finish(&stream->queue, true);
  stream->capturing = true;
  return 0;
}
int cuStreamEndCapture(void* given, void** graph) {
  __attribute__((cleanup(unlock), unused)) int locked_ = lock();
  struct stream* stream = stream_of(given);
  if (stream == NULL || !stream->capturing) return INVALID_HANDLE;
  stream->capturing = false;
  struct queue found = stream->queue;
  stream->queue = (struct queue){0};
  int code = entered(__func__);
  trace("cuStreamEndCapture%s\n", code != 0 ? "" : " +graph");
  if (code != 0) {
    finish(&found, false);
    return code;
  }
  struct graph* made = calloc(1, sizeof *made);
  made->queue = found;
  *graph = made;
  return 0;
}
int cuGraphInstantiate(void** exec, void* given, void** node, char* log, size_t size) {
  ENTER_CONTEXT("cuGraphInstantiate +exec\n");
  (void)node, (void)log, (void)size;
  struct graph *graph = given, *made = calloc(1, sizeof *made);
  for (struct operation* each = graph->queue.first; each != NULL; each = each->next) {
    add(&made->queue, each);
  }
  *exec = made;
  return 0;
}
int cuGraphLaunch(void* given, void* where) {
  ENTER_CONTEXT("cuGraphLaunch\n");
  struct graph* graph = given;
  struct stream* stream = stream_of(where);
  if (stream == NULL) return INVALID_HANDLE;
  for (struct operation* each = graph->queue.first; each != NULL; each = each->next) {
    add(&stream->queue, each);
  }
  return 0;
}
static void forget(struct graph* graph) {
  finish(&graph->queue, false);
  free(graph);
}
int cuGraphExecDestroy(void* exec) {
  ENTER_CONTEXT("cuGraphExecDestroy -exec\n");
  forget(exec);
  return 0;
}
int cuGraphDestroy(void* graph) {
  ENTER_CONTEXT("cuGraphDestroy -graph\n");
  forget(graph);
  return 0;
}
#endif
