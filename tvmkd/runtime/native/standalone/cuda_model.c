/* What the instances of a model share on the GPU: its context, its kernels and its weights. The
 * first open makes them, the last close removes them. */
#include <stdint.h>

#include "cuda.h"

enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_BYTES = 6 };              /* CUjit_option */
enum { CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };            /* CUdevice_attribute */

static tvmkd_status load_kernels(const tvmkd_cuda_graph *graph, const cuda_driver *driver,
                                 char *message) {
  char log[256] = "";
  int options[] = {JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES};
  void *values[] = {log, (void *)(uintptr_t)sizeof log};
  int code = driver->cuModuleLoadDataEx(&graph->shared->module, graph->ptx, 2, options, values);
  if (code) {
    graph->shared->module = NULL;
    tvmkd_cuda_say(message, "cuModuleLoadDataEx: %s%s%s", tvmkd_cuda_name(driver, code),
                   *log ? ": " : "", log);
    return TVMKD_FAILED;
  }
  for (uint32_t each = 0; each < graph->kernel_count; each++) {
    code = driver->cuModuleGetFunction(&graph->functions[each], graph->shared->module,
                                       graph->kernels[each]);
    if (code) {
      tvmkd_cuda_say(message, "kernel %s: cuModuleGetFunction: %s", graph->kernels[each],
                     tvmkd_cuda_name(driver, code));
      return TVMKD_FAILED;
    }
  }
  return TVMKD_OK;
}

static tvmkd_status copy_weights(const tvmkd_cuda_graph *graph, const cuda_driver *driver,
                                 char *message) {
  if (!graph->constant_bytes) return TVMKD_OK;
  cuda_address *there = &graph->shared->constants;
  int code = driver->cuMemAlloc_v2(there, graph->constant_bytes);
  if (code) {
    *there = 0;
    return tvmkd_cuda_fail(driver, message, "cuMemAlloc (weights)", code);
  }
  code = driver->cuMemcpyHtoD_v2(*there, graph->constants, graph->constant_bytes);
  /* It may return before the last bytes are there, and the instances' streams do not wait for the
   * default stream. */
  if (!code) code = driver->cuStreamSynchronize(NULL);
  return code ? tvmkd_cuda_fail(driver, message, "cuMemcpyHtoD (weights)", code) : TVMKD_OK;
}

static void undo(const tvmkd_cuda_graph *graph, const cuda_driver *driver) {
  tvmkd_cuda_shared *shared = graph->shared;
  if (shared->context) {
    void *left;
    if (!driver->cuCtxPushCurrent_v2(shared->context)) {
      if (shared->constants) driver->cuMemFree_v2(shared->constants);
      if (shared->module) driver->cuModuleUnload(shared->module);
      driver->cuCtxPopCurrent_v2(&left);
    }
    driver->cuDevicePrimaryCtxRelease(shared->device);
  }
  shared->constants = 0;
  shared->module = shared->context = NULL;
}

static tvmkd_status make(const tvmkd_cuda_graph *graph, const cuda_driver *driver, char *message) {
  tvmkd_cuda_shared *shared = graph->shared;
  void *left;
  /* The first that the process sees: CUDA_VISIBLE_DEVICES chooses another. */
  int code = driver->cuDeviceGet(&shared->device, 0);
  if (code) return tvmkd_cuda_fail(driver, message, "cuDeviceGet", code);
  int found = tvmkd_cuda_attribute(driver, CAPABILITY_MAJOR, shared->device) * 10 +
              tvmkd_cuda_attribute(driver, CAPABILITY_MINOR, shared->device);
  if (found < graph->capability) {
    tvmkd_cuda_say(message, "this GPU has compute capability %d.%d, and the library needs %d.%d",
                   found / 10, found % 10, graph->capability / 10, graph->capability % 10);
    return TVMKD_NO_DEVICE;
  }
  code = driver->cuDevicePrimaryCtxRetain(&shared->context, shared->device);
  if (code) {
    shared->context = NULL;
    return tvmkd_cuda_fail(driver, message, "cuDevicePrimaryCtxRetain", code);
  }
  code = driver->cuCtxPushCurrent_v2(shared->context);
  if (code) return tvmkd_cuda_fail(driver, message, "cuCtxPushCurrent", code);
  tvmkd_status status = load_kernels(graph, driver, message);
  if (!status) status = copy_weights(graph, driver, message);
  driver->cuCtxPopCurrent_v2(&left);
  return status;
}

tvmkd_status tvmkd_cuda_acquire(const tvmkd_cuda_graph *graph, const cuda_driver *driver,
                                char *message) {
  tvmkd_cuda_shared *shared = graph->shared;
  tvmkd_status status = TVMKD_OK;
  pthread_mutex_lock(&shared->lock);
  if (!shared->users) status = make(graph, driver, message);
  if (!status) shared->users++;
  else undo(graph, driver);
  pthread_mutex_unlock(&shared->lock);
  return status;
}

void tvmkd_cuda_release(const tvmkd_cuda_graph *graph, const cuda_driver *driver) {
  tvmkd_cuda_shared *shared = graph->shared;
  pthread_mutex_lock(&shared->lock);
  if (!--shared->users) undo(graph, driver);
  pthread_mutex_unlock(&shared->lock);
}
