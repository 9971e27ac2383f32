/* What the parts of a standalone library for an NVIDIA GPU share; users need tvmkd.h alone.
 *
 * The driver's own interface (libcuda.so.1) is all that launching PTX takes. It has been stable
 * since CUDA 4 and is the same on every board, so it is declared here: no header of CUDA is needed.
 * https://docs.nvidia.com/cuda/cuda-driver-api/ */
#ifndef TVMKD_CUDA_H
#define TVMKD_CUDA_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime.h"

typedef unsigned long long cuda_address;

#define NEEDED_FUNCTIONS(F)                                                                     \
  F(cuInit, unsigned)                                                                           \
  F(cuGetErrorName, int, const char **)                                                         \
  F(cuDeviceGetCount, int *)                                                                    \
  F(cuDeviceGet, int *, int)                                                                    \
  F(cuDeviceGetAttribute, int *, int, int)                                                      \
  F(cuDevicePrimaryCtxRetain, void **, int)                                                     \
  F(cuDevicePrimaryCtxRelease, int)                                                             \
  F(cuCtxPushCurrent_v2, void *)                                                                \
  F(cuCtxPopCurrent_v2, void **)                                                                \
  F(cuMemAlloc_v2, cuda_address *, size_t)                                                      \
  F(cuMemFree_v2, cuda_address)                                                                 \
  F(cuMemcpyHtoD_v2, cuda_address, const void *, size_t)                                        \
  F(cuMemcpyHtoDAsync_v2, cuda_address, const void *, size_t, void *)                           \
  F(cuMemcpyDtoHAsync_v2, void *, cuda_address, size_t, void *)                                 \
  F(cuMemcpyDtoDAsync_v2, cuda_address, cuda_address, size_t, void *)                           \
  F(cuStreamCreate, void **, unsigned)                                                          \
  F(cuStreamDestroy_v2, void *)                                                                 \
  F(cuStreamSynchronize, void *)                                                                \
  F(cuStreamWaitEvent, void *, void *, unsigned)                                                \
  F(cuEventCreate, void **, unsigned)                                                           \
  F(cuEventDestroy_v2, void *)                                                                  \
  F(cuEventRecord, void *, void *)                                                              \
  F(cuEventQuery, void *)                                                                       \
  F(cuEventSynchronize, void *)                                                                 \
  F(cuModuleLoadDataEx, void **, const void *, unsigned, int *, void **)                        \
  F(cuModuleUnload, void *)                                                                     \
  F(cuModuleGetFunction, void **, void *, const char *)                                         \
  F(cuLaunchKernel, void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,         \
    unsigned, void *, void **, void **)

/* Younger than some drivers: NULL where they are missing. Managed memory came with CUDA 6, the
 * capture of a graph with 10.1, and cuGraphInstantiateWithFlags with 11.4. */
#define OPTIONAL_FUNCTIONS(F)                                             \
  F(cuMemAllocManaged, cuda_address *, size_t, unsigned)                  \
  F(cuStreamAttachMemAsync, void *, cuda_address, size_t, unsigned)       \
  F(cuStreamBeginCapture_v2, void *, int)                                 \
  F(cuStreamIsCapturing, void *, int *)                                   \
  F(cuStreamEndCapture, void *, void **)                                  \
  F(cuGraphInstantiate, void **, void *, void **, char *, size_t)         \
  F(cuGraphInstantiateWithFlags, void **, void *, unsigned long long)     \
  F(cuGraphLaunch, void *, void *)                                        \
  F(cuGraphExecDestroy, void *)                                           \
  F(cuGraphDestroy, void *)

typedef struct {
#define DECLARE(name, ...) int (*name)(__VA_ARGS__);
  NEEDED_FUNCTIONS(DECLARE) OPTIONAL_FUNCTIONS(DECLARE)
#undef DECLARE
} cuda_driver;

enum { MESSAGE = 384 }; /* bytes of a message, the end included */

/* One launch, or a copy on the device (kernel is COPY: its arguments are the source and the goal). */
enum { COPY = 0xFFFF };
typedef struct {
  uint16_t kernel; /* the number of its name */
  uint16_t count;  /* of its arguments */
  uint32_t first;  /* of them */
  uint32_t grid[3], block[3];
  uint64_t bytes; /* dynamic shared memory of a block; of a copy, how much */
} tvmkd_cuda_launch;

/* Where an argument of a launch points to: IN_ARENA, ..., and bytes from the block's begin. Inputs
 * and outputs lie in one block. Or a number: a kernel reads as many bytes from its begin as it
 * wants. */
enum { BY_VALUE = 0xFF };
typedef struct {
  uint64_t offset;
  uint32_t place;
} tvmkd_cuda_argument;

/* What all instances of a model in this process share, while there is one. */
typedef struct {
  pthread_mutex_t lock; /* in open and close only */
  int users;
  int device;
  void *context; /* the device's primary one, as the CUDA runtime uses it */
  void *module;
  cuda_address constants;
} tvmkd_cuda_shared;

/* A model, as the generated file describes it. */
typedef struct {
  const tvmkd_library *library;
  tvmkd_cuda_shared *shared;
  void **functions; /* of the kernels, once they are loaded */
  const char *ptx;
  const char *const *kernels; /* the names */
  const tvmkd_cuda_launch *launches;
  /* The name of a profiler's range that starts at each launch; NULL: the launch belongs to the range
   * before it. */
  const char *const *ranges;
  const tvmkd_cuda_argument *arguments;
  const uint64_t *inputs, *outputs; /* where each lies in the block for inputs and outputs */
  const unsigned char *constants;
  uint64_t constant_bytes, arena_bytes, io_bytes;
  uint32_t kernel_count, launch_count, argument_count;
  int32_t capability; /* 53 is compute capability 5.3 */
} tvmkd_cuda_graph;

/* How a run is done; the environment variable TVMKD_CUDA names one. */
enum { AUTOMATIC, GRAPH, LAUNCHES, MANAGED };

/* What a tvmkd_instance of such a library is. */
typedef struct {
  const tvmkd_cuda_graph *graph;
  const cuda_driver *driver;
  int mode, acquired;
  void *stream, *event;
  void *last; /* an event: the end of what was put into a caller's stream last */
  int enqueued; /* whether there was any */
  void *exec; /* the CUDA graph of the kernels, or NULL */
  cuda_address arena, io;
  cuda_address *addresses; /* of all arguments, */
  void **params;           /* and where they are kept */
  int64_t spin_ns;
  int cpu; /* to pin the calling thread to, or -1 */
  pthread_t pinned;
  tvmkd_part part; /* the whole network: there are no early exits */
  char error[MESSAGE];
} cuda_instance;

/* Leaves the function with the error of a failed call of the driver. */
#define TRY(function, ...)                                                                \
  do {                                                                                    \
    int code_ = instance->driver->function(__VA_ARGS__);                                  \
    if (code_) return tvmkd_cuda_fail(instance->driver, instance->error, #function, code_); \
  } while (0)

/* cuda_driver.c */
const cuda_driver *tvmkd_cuda_driver(char *message);
const char *tvmkd_cuda_name(const cuda_driver *driver, int code);
int tvmkd_cuda_attribute(const cuda_driver *driver, int which, int device);
tvmkd_status tvmkd_cuda_fail(const cuda_driver *driver, char *message, const char *function,
                             int code);
void tvmkd_cuda_say(char *message, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* cuda_nvtx.c */
void tvmkd_nvtx_push(const char *name);
void tvmkd_nvtx_pop(const char *name);

/* cuda_model.c */
tvmkd_status tvmkd_cuda_acquire(const tvmkd_cuda_graph *graph, const cuda_driver *driver,
                                char *message);
void tvmkd_cuda_release(const tvmkd_cuda_graph *graph, const cuda_driver *driver);

/* cuda_instance.c */
tvmkd_status tvmkd_cuda_open(const tvmkd_cuda_graph *graph, const tvmkd_options *options,
                             tvmkd_instance **instance);
const char *tvmkd_cuda_last_error(const tvmkd_instance *instance);
void tvmkd_cuda_close(tvmkd_instance *instance);

/* cuda_run.c */
tvmkd_status tvmkd_cuda_run(tvmkd_instance *instance, const void *const *inputs,
                            void *const *outputs);
tvmkd_status tvmkd_cuda_run_until(tvmkd_instance *instance, const void *const *inputs,
                                  void *const *outputs, int64_t deadline_ns, int32_t *exit_taken);
tvmkd_status tvmkd_cuda_run_exit(tvmkd_instance *instance, const void *const *inputs,
                                 void *const *outputs, int32_t exit);
tvmkd_status tvmkd_cuda_enqueue(tvmkd_instance *instance, const void *const *inputs,
                                void *const *outputs, void *stream);
tvmkd_status tvmkd_cuda_launch_all(cuda_instance *instance, void *stream);

#endif
