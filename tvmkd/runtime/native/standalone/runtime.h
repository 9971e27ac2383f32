/* What the parts of a standalone library share; users of a library need tvmkd.h alone. */
#ifndef TVMKD_RUNTIME_H
#define TVMKD_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "tvmkd.h"

#define ALIGNMENT 64 /* of every buffer: what TVM's kernels may expect */
#define MOST_THREADS 64

/* DLPack's tensor and tvm_ffi's argument, as kernels read them (dlpack.h, c_api.h of tvm_ffi). */
typedef struct {
  void *data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t *shape;
  const int64_t *strides;
  uint64_t byte_offset;
} tvmkd_dltensor;

typedef struct {
  int32_t type;
  int32_t padding;
  union {
    const tvmkd_dltensor *tensor; /* TENSOR_POINTER */
    int64_t number;               /* integers and booleans */
    const char *text;             /* strings */
  };
} tvmkd_argument;

enum { DEVICE_CPU = 1, TENSOR_POINTER = 7 };

typedef int32_t tvmkd_kernel(void *self, const tvmkd_argument *arguments, int32_t count,
                             tvmkd_argument *result);

/* Where a tensor of the graph lies; `offset` counts bytes, or is the number of the input or output. */
enum { IN_ARENA, IN_CONSTANTS, IN_INPUT, IN_OUTPUT };
typedef struct {
  const int64_t *shape;
  const int64_t *strides;
  uint64_t offset;
  uint8_t place, code, bits, ndim;
} tvmkd_place;

/* Frames, as the generated file describes them: see frames.c. */
typedef struct tvmkd_frame_plan tvmkd_frame_plan;

/* A model, as the generated file describes it. */
typedef struct {
  const tvmkd_library *library;
  const tvmkd_place *places;
  const uint16_t *arguments; /* of all calls, one after the other: numbers of places */
  const char *const *kernels; /* the names, by the number of the call */
  const unsigned char *constants;
  uint32_t place_count, argument_count;
  uint64_t scratch_bytes; /* for each thread */
  int32_t threads;        /* cores of the target */
  const uint32_t *features; /* NEED_…, ended by 0 */
  /* One function for each exit: the number of the call that failed, from 1, or 0. */
  int32_t (*const *parts)(const tvmkd_argument *arguments);
  const tvmkd_frame_plan *frames; /* NULL: none */
  /* Bytes of an instance for frames. Called through here, so that libraries without pre-processing
   * do not contain it. */
  size_t (*frame_bytes)(const tvmkd_frame_plan *frames, int threads);
} tvmkd_graph;

typedef struct tvmkd_pool tvmkd_pool;

/* instance.c */
tvmkd_status tvmkd_rt_open(const tvmkd_graph *graph, const tvmkd_options *options,
                           tvmkd_instance **instance);
tvmkd_status tvmkd_rt_run(tvmkd_instance *instance, const void *const *inputs,
                          void *const *outputs);
tvmkd_status tvmkd_rt_run_until(tvmkd_instance *instance, const void *const *inputs,
                                void *const *outputs, int64_t deadline_ns, int32_t *exit_taken);
/* Without an instance `what` is the whole reason, and has to last. */
tvmkd_status tvmkd_rt_fail(tvmkd_instance *instance, tvmkd_status status, const char *what,
                           const char *name, const char *why);
const char *tvmkd_rt_last_error(const tvmkd_instance *instance);
void tvmkd_rt_close(tvmkd_instance *instance);
tvmkd_status tvmkd_rt_run_exit(tvmkd_instance *instance, const void *const *inputs,
                               void *const *outputs, int32_t exit);
int32_t tvmkd_rt_copy(void *self, const tvmkd_argument *arguments, int32_t count,
                      tvmkd_argument *result);

/* exits.c: what an instance knows of a part of a network with early exits; zero at first. */
#define REMEMBERED 16
typedef struct {
  int64_t times[REMEMBERED]; /* of its last runs, in nanoseconds */
  int64_t chosen;            /* class that its exit chose in this run, where there are weights */
  uint32_t runs, left_out, retry;
  int32_t trying;
} tvmkd_part;
int tvmkd_rt_fits(tvmkd_part *part, int64_t left_ns);
void tvmkd_rt_took(tvmkd_part *part, int64_t spent_ns, int64_t left_ns);
int tvmkd_rt_confident(const float *logits, uint64_t count, double temperature,
                       double threshold);
double tvmkd_rt_score(const float *logits, uint64_t count, double temperature,
                      const double *weights, const tvmkd_part *before, int32_t exit,
                      int64_t *chosen);
int tvmkd_rt_leaves(const tvmkd_library *library, tvmkd_part *parts, int32_t exit,
                    const float *logits, uint64_t count);

/* A model that is open; one block of memory. */
struct tvmkd_instance {
  const tvmkd_graph *graph;
  size_t bytes; /* of the block that begins here */
  tvmkd_pool *pool;
  tvmkd_dltensor *tensors;
  tvmkd_argument *arguments;
  unsigned char **inputs, **outputs; /* copies of buffers that are not aligned */
  tvmkd_part *parts;
  unsigned char *logits; /* of this run: the first output */
  void *frames;          /* what run_frame works with */
  int threads;
  char error[256];
};

/* cpu.c: x86's features are (leaf 1, 7 or 0x71 for subleaf 1) << 8 | register << 5 | bit. */
#define NEED_X86(leaf, reg, bit) ((uint32_t)(leaf) << 8 | (uint32_t)(reg) << 5 | (uint32_t)(bit))
#define NEED_HWCAP(bit) (UINT32_C(0x1000000) | (uint32_t)(bit))
int tvmkd_rt_has(uint32_t feature);

/* frames.c */
size_t tvmkd_rt_frame_bytes(const tvmkd_frame_plan *frames, int threads);
tvmkd_status tvmkd_rt_run_frame(tvmkd_instance *instance, const tvmkd_frame *frame,
                                void *const *outputs, tvmkd_results *results);

/* sort.c: a model refers to it if its kernels sort, so that a linker takes it from an archive. */
extern const char tvmkd_rt_sorts;

/* pool.c */
typedef struct {
  void *barrier;
  int32_t count;
} tvmkd_group; /* TVMParallelGroupEnv */
typedef int tvmkd_task_body(int number, tvmkd_group *group, void *data);

/* TVMBackendParallelLaunch: runs `body` for each number below group->count, which is `wanted` at
 * most, or all threads with 0; 0, or -1 if one of them failed. */
int tvmkd_rt_parallel(tvmkd_task_body *body, void *data, int wanted);
size_t tvmkd_rt_pool_bytes(int threads);
int tvmkd_rt_pool_start(tvmkd_pool *pool, int threads, const int32_t *cpus, int64_t spin_ns,
                        unsigned char *scratch, uint64_t scratch_bytes);
void tvmkd_rt_pool_enter(tvmkd_pool *pool);
void tvmkd_rt_pool_leave(tvmkd_pool *pool);
void tvmkd_rt_pool_stop(tvmkd_pool *pool);
const char *tvmkd_rt_pool_reason(const tvmkd_pool *pool);

#endif
