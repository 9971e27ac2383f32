/* Runs an instance on the GPU: copies the inputs to the device, starts the kernels in order, waits,
 * and copies the outputs back. Nothing is allocated here. */
#define _GNU_SOURCE
#include <sched.h>
#include <string.h>
#include <time.h>

#include "cuda.h"

enum { NOT_READY = 600 }; /* CUresult */

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static tvmkd_status launch_one(cuda_instance *instance, const tvmkd_cuda_launch *launch,
                               void *stream) {
  const tvmkd_cuda_graph *graph = instance->graph;
  const cuda_driver *driver = instance->driver;
  const cuda_address *given = instance->addresses + launch->first;
  if (launch->kernel == COPY) {
    TRY(cuMemcpyDtoDAsync_v2, given[1], given[0], launch->bytes, stream);
    return TVMKD_OK;
  }
  const uint32_t *grid = launch->grid, *block = launch->block;
  int code = driver->cuLaunchKernel(graph->functions[launch->kernel], grid[0], grid[1], grid[2],
                                    block[0], block[1], block[2], (unsigned)launch->bytes, stream,
                                    instance->params + launch->first, NULL);
  if (!code) return TVMKD_OK;
  tvmkd_cuda_say(instance->error, "kernel %s: cuLaunchKernel: %s, grid %u %u %u, block %u %u %u",
                 graph->kernels[launch->kernel], tvmkd_cuda_name(driver, code), grid[0], grid[1],
                 grid[2], block[0], block[1], block[2]);
  return TVMKD_FAILED;
}

/* A range of a profiler covers the launches of one kernel of TVM. */
tvmkd_status tvmkd_cuda_launch_all(cuda_instance *instance, void *stream) {
  const tvmkd_cuda_graph *graph = instance->graph;
  const char *range = NULL;
  tvmkd_status status = TVMKD_OK;
  for (uint32_t each = 0; !status && each < graph->launch_count; each++) {
    if (graph->ranges[each]) {
      tvmkd_nvtx_pop(range);
      tvmkd_nvtx_push(range = graph->ranges[each]);
    }
    status = launch_one(instance, &graph->launches[each], stream);
  }
  tvmkd_nvtx_pop(range);
  return status;
}

static void pin(cuda_instance *instance) {
  if (instance->cpu < 0 || (instance->pinned && pthread_equal(instance->pinned, pthread_self())))
    return;
  instance->pinned = pthread_self();
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(instance->cpu, &only);
  sched_setaffinity(0, sizeof only, &only); /* refused: the thread runs where it may */
}

/* Waits with queries for a while, then asleep. */
static tvmkd_status wait_for_kernels(cuda_instance *instance) {
  TRY(cuEventRecord, instance->event, instance->stream);
  if (instance->spin_ns) {
    int64_t end = now() + instance->spin_ns;
    int code;
    do code = instance->driver->cuEventQuery(instance->event);
    while (code == NOT_READY && now() < end);
    if (!code) return TVMKD_OK;
    if (code != NOT_READY)
      return tvmkd_cuda_fail(instance->driver, instance->error, "a kernel failed: cuEventQuery",
                             code);
  }
  int code = instance->driver->cuEventSynchronize(instance->event);
  if (!code) return TVMKD_OK;
  return tvmkd_cuda_fail(instance->driver, instance->error, "a kernel failed: cuEventSynchronize",
                         code);
}

static tvmkd_status start_kernels(cuda_instance *instance, void *stream) {
  if (!instance->exec) return tvmkd_cuda_launch_all(instance, stream);
  TRY(cuGraphLaunch, instance->exec, stream);
  return TVMKD_OK;
}

static tvmkd_status go(cuda_instance *instance, const void *const *inputs, void *const *outputs) {
  const tvmkd_cuda_graph *graph = instance->graph;
  const tvmkd_library *library = graph->library;
  int direct = instance->mode == MANAGED;
  /* An instance has one set of buffers, whatever the stream. */
  if (instance->enqueued) TRY(cuStreamWaitEvent, instance->stream, instance->last, 0);
  for (int32_t each = 0; each < library->input_count; each++) {
    cuda_address there = instance->io + graph->inputs[each];
    size_t bytes = library->inputs[each].bytes;
    if (direct) memcpy((void *)(uintptr_t)there, inputs[each], bytes);
    else if (bytes) TRY(cuMemcpyHtoDAsync_v2, there, inputs[each], bytes, instance->stream);
  }
  tvmkd_status status = start_kernels(instance, instance->stream);
  if (!status) status = wait_for_kernels(instance);
  if (status) return status;
  for (int32_t each = 0; each < library->output_count; each++) {
    cuda_address there = instance->io + graph->outputs[each];
    size_t bytes = library->outputs[each].bytes;
    if (direct) memcpy(outputs[each], (void *)(uintptr_t)there, bytes);
    else if (bytes) TRY(cuMemcpyDtoHAsync_v2, outputs[each], there, bytes, instance->stream);
  }
  if (!direct) TRY(cuStreamSynchronize, instance->stream);
  return TVMKD_OK;
}

static tvmkd_status check(cuda_instance *instance, const void *const *inputs,
                          void *const *outputs) {
  const tvmkd_library *library = instance->graph->library;
  const char *what = !inputs && library->input_count ? "inputs" : !outputs ? "outputs" : NULL;
  for (int32_t each = 0; !what && each < library->input_count; each++)
    if (!inputs[each]) what = library->inputs[each].name;
  for (int32_t each = 0; !what && each < library->output_count; each++)
    if (!outputs[each]) what = library->outputs[each].name;
  if (!what) return TVMKD_OK;
  tvmkd_cuda_say(instance->error, "run: %s is NULL", what);
  return TVMKD_BAD_ARGUMENT;
}

tvmkd_status tvmkd_cuda_run(tvmkd_instance *opened, const void *const *inputs,
                            void *const *outputs) {
  cuda_instance *instance = (cuda_instance *)opened;
  if (!instance) return TVMKD_BAD_ARGUMENT;
  tvmkd_status status = check(instance, inputs, outputs);
  if (status) return status;
  pin(instance);
  void *left;
  TRY(cuCtxPushCurrent_v2, instance->graph->shared->context);
  const char *name = instance->graph->library->name;
  tvmkd_nvtx_push(name);
  status = go(instance, inputs, outputs);
  tvmkd_nvtx_pop(name);
  /* What is still under way may read or write the caller's buffers. */
  if (status) instance->driver->cuStreamSynchronize(instance->stream);
  instance->driver->cuCtxPopCurrent_v2(&left);
  return status;
}

static tvmkd_status put(cuda_instance *instance, const void *const *inputs, void *const *outputs,
                        void *stream) {
  const tvmkd_cuda_graph *graph = instance->graph;
  const tvmkd_library *library = graph->library;
  for (int32_t each = 0; each < library->input_count; each++) {
    cuda_address from = (cuda_address)(uintptr_t)inputs[each];
    size_t bytes = library->inputs[each].bytes;
    if (bytes) TRY(cuMemcpyDtoDAsync_v2, instance->io + graph->inputs[each], from, bytes, stream);
  }
  tvmkd_status status = start_kernels(instance, stream);
  for (int32_t each = 0; !status && each < library->output_count; each++) {
    cuda_address to = (cuda_address)(uintptr_t)outputs[each];
    size_t bytes = library->outputs[each].bytes;
    if (bytes) TRY(cuMemcpyDtoDAsync_v2, to, instance->io + graph->outputs[each], bytes, stream);
  }
  return status;
}

/* After what this instance has put into whatever stream before. */
static tvmkd_status put_in_order(cuda_instance *instance, const void *const *inputs,
                                 void *const *outputs, void *stream) {
  const cuda_driver *driver = instance->driver;
  int capturing = 0;
  if (driver->cuStreamIsCapturing) TRY(cuStreamIsCapturing, stream, &capturing);
  if (capturing) {
    tvmkd_cuda_say(instance->error, "enqueue: the stream is being captured, which cannot be done");
    return TVMKD_BAD_ARGUMENT;
  }
  if (instance->enqueued) TRY(cuStreamWaitEvent, stream, instance->last, 0);
  tvmkd_status status = put(instance, inputs, outputs, stream);
  /* Whatever failed, what was put in has to be waited for. */
  instance->enqueued = 1;
  int code = driver->cuEventRecord(instance->last, stream);
  if (!code) return status;
  driver->cuStreamSynchronize(stream);
  return status ? status : tvmkd_cuda_fail(driver, instance->error, "cuEventRecord", code);
}

tvmkd_status tvmkd_cuda_enqueue(tvmkd_instance *opened, const void *const *inputs,
                                void *const *outputs, void *stream) {
  cuda_instance *instance = (cuda_instance *)opened;
  if (!instance) return TVMKD_BAD_ARGUMENT;
  tvmkd_status status = check(instance, inputs, outputs);
  if (status) return status;
  if (instance->mode == MANAGED) {
    tvmkd_cuda_say(instance->error, "enqueue: with TVMKD_CUDA=managed only the CPU gives inputs");
    return TVMKD_BAD_ARGUMENT;
  }
  void *left;
  TRY(cuCtxPushCurrent_v2, instance->graph->shared->context);
  const char *name = instance->graph->library->name;
  tvmkd_nvtx_push(name);
  status = put_in_order(instance, inputs, outputs, stream);
  tvmkd_nvtx_pop(name);
  instance->driver->cuCtxPopCurrent_v2(&left);
  return status;
}

tvmkd_status tvmkd_cuda_run_until(tvmkd_instance *opened, const void *const *inputs,
                                  void *const *outputs, int64_t deadline_ns, int32_t *exit_taken) {
  cuda_instance *instance = (cuda_instance *)opened;
  if (!instance) return TVMKD_BAD_ARGUMENT;
  int64_t begin = now();
  /* A deadline may be any number: differences from it must not overflow. */
  int64_t left = (deadline_ns < 0 ? 0 : deadline_ns) - begin;
  if (!tvmkd_rt_fits(&instance->part, left)) {
    tvmkd_cuda_say(instance->error, "run_until: the first exit would be late");
    return TVMKD_LATE;
  }
  tvmkd_status status = tvmkd_cuda_run(opened, inputs, outputs);
  if (status) return status;
  tvmkd_rt_took(&instance->part, now() - begin, left);
  if (exit_taken) *exit_taken = 0;
  return TVMKD_OK;
}

tvmkd_status tvmkd_cuda_run_exit(tvmkd_instance *opened, const void *const *inputs,
                                 void *const *outputs, int32_t exit) {
  cuda_instance *instance = (cuda_instance *)opened;
  if (!instance) return TVMKD_BAD_ARGUMENT;
  if (!exit) return tvmkd_cuda_run(opened, inputs, outputs);
  tvmkd_cuda_say(instance->error, "run_exit: there is no such exit");
  return TVMKD_BAD_ARGUMENT;
}
