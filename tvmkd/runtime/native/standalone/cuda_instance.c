/* Opens and closes an instance of a model on an NVIDIA GPU: a stream, an event, the launches as a
 * CUDA graph where the driver can capture one, and device memory for all but the weights. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

#define DEFAULT_SPIN_US 50
#define LONGEST_SPIN_US 1000000
/* The size of tvmkd_options in its first version: there are no smaller ones. */
#define FIRST_OPTIONS (offsetof(tvmkd_options, spin_us) + sizeof(int32_t))

enum { INTEGRATED = 18, MANAGED_MEMORY = 83 }; /* CUdevice_attribute */
enum { NON_BLOCKING = 1 };                     /* CUstream_flags */
enum { SLEEP_IN_WAIT = 1, NO_TIMING = 2 };     /* CUevent_flags */
enum { ATTACH_HOST = 2, ATTACH_SINGLE = 4 };   /* CUmemAttach_flags */
enum { CAPTURE_THREAD_LOCAL = 1 };             /* CUstreamCaptureMode */

/* Not in the space that the system keeps for all libraries' variables of threads. */
static _Thread_local char open_error[MESSAGE] __attribute__((tls_model("global-dynamic")));

static const char *read_options(const tvmkd_options *given, cuda_instance *instance) {
  tvmkd_options options = {0};
  if (given) {
    if (given->size < FIRST_OPTIONS) return "options: size is not that of tvmkd_options";
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
  }
  if (options.threads < 0 || options.threads > MOST_THREADS)
    return "options: threads must be from 0 to 64";
  if (options.spin_us < -1 || options.spin_us > LONGEST_SPIN_US)
    return "options: spin_us must be from -1 to 1000000";
  instance->cpu = -1;
  if (options.cpus) { /* only the calling thread works here */
    if (options.cpu_count < 1 || options.cpu_count < options.threads)
      return "options: fewer cpus than threads";
    if (options.cpus[0] < 0 || options.cpus[0] >= CPU_SETSIZE)
      return "options: cpus: no such CPU";
    instance->cpu = options.cpus[0];
  }
  int64_t spin_us = options.spin_us ? options.spin_us : DEFAULT_SPIN_US;
  instance->spin_ns = spin_us < 0 ? 0 : spin_us * 1000;
  return NULL;
}

static const char *read_mode(int *mode) {
  const char *asked = getenv("TVMKD_CUDA");
  *mode = AUTOMATIC;
  if (!asked || !*asked) return NULL;
  if (!strcmp(asked, "graph")) *mode = GRAPH;
  else if (!strcmp(asked, "launches")) *mode = LAUNCHES;
  else if (!strcmp(asked, "managed")) *mode = MANAGED;
  else return "TVMKD_CUDA must be graph, launches or managed";
  return NULL;
}

static tvmkd_status allocate(cuda_instance *instance) {
  const tvmkd_cuda_graph *graph = instance->graph;
  uint64_t bytes = graph->arena_bytes;
  if (instance->mode == MANAGED) {
    int device = graph->shared->device;
    if (!tvmkd_cuda_attribute(instance->driver, INTEGRATED, device) ||
        !tvmkd_cuda_attribute(instance->driver, MANAGED_MEMORY, device) ||
        !instance->driver->cuMemAllocManaged || !instance->driver->cuStreamAttachMemAsync) {
      tvmkd_cuda_say(instance->error, "TVMKD_CUDA=managed: this GPU has memory of its own");
      return TVMKD_FAILED;
    }
    TRY(cuMemAllocManaged, &instance->io, graph->io_bytes, ATTACH_HOST);
    /* The CPU may use the memory while other instances' kernels run. */
    TRY(cuStreamAttachMemAsync, instance->stream, instance->io, 0, ATTACH_SINGLE);
    TRY(cuStreamSynchronize, instance->stream);
  } else {
    bytes += graph->io_bytes;
  }
  if (bytes) TRY(cuMemAlloc_v2, &instance->arena, bytes);
  if (instance->mode != MANAGED) instance->io = instance->arena + graph->arena_bytes;
  for (uint32_t each = 0; each < graph->argument_count; each++) {
    const tvmkd_cuda_argument *argument = &graph->arguments[each];
    cuda_address begin = argument->place == IN_ARENA       ? instance->arena
                         : argument->place == IN_CONSTANTS ? graph->shared->constants
                         : argument->place == BY_VALUE     ? 0
                                                           : instance->io;
    instance->addresses[each] = begin + argument->offset;
    instance->params[each] = &instance->addresses[each];
  }
  return TVMKD_OK;
}

/* Records the launches as a graph, which starts with one call. */
static tvmkd_status capture(cuda_instance *instance) {
  const cuda_driver *driver = instance->driver;
  if (!driver->cuStreamBeginCapture_v2 || !driver->cuStreamEndCapture || !driver->cuGraphLaunch ||
      !driver->cuGraphExecDestroy || !driver->cuGraphDestroy ||
      (!driver->cuGraphInstantiate && !driver->cuGraphInstantiateWithFlags)) {
    tvmkd_cuda_say(instance->error, "TVMKD_CUDA=graph: this driver cannot capture graphs");
    return TVMKD_FAILED;
  }
  void *graph = NULL;
  TRY(cuStreamBeginCapture_v2, instance->stream, CAPTURE_THREAD_LOCAL);
  tvmkd_status status = tvmkd_cuda_launch_all(instance, instance->stream);
  int code = driver->cuStreamEndCapture(instance->stream, &graph);
  if (code) graph = NULL;
  if (!status && code) status = tvmkd_cuda_fail(driver, instance->error, "cuStreamEndCapture", code);
  if (!status) {
    code = driver->cuGraphInstantiateWithFlags
               ? driver->cuGraphInstantiateWithFlags(&instance->exec, graph, 0)
               : driver->cuGraphInstantiate(&instance->exec, graph, NULL, NULL, 0);
    if (code) {
      instance->exec = NULL;
      status = tvmkd_cuda_fail(driver, instance->error, "cuGraphInstantiate", code);
    }
  }
  if (graph) driver->cuGraphDestroy(graph);
  return status;
}

static tvmkd_status prepare(cuda_instance *instance) {
  TRY(cuStreamCreate, &instance->stream, NON_BLOCKING);
  TRY(cuEventCreate, &instance->event, SLEEP_IN_WAIT | NO_TIMING);
  TRY(cuEventCreate, &instance->last, NO_TIMING);
  tvmkd_status status = allocate(instance);
  if (!status && instance->graph->launch_count &&
      (instance->mode == GRAPH || instance->mode == AUTOMATIC)) {
    status = capture(instance);
    if (instance->mode == AUTOMATIC) status = TVMKD_OK; /* then the kernels start one by one */
  }
  return status;
}

static tvmkd_status open_there(cuda_instance *instance) {
  tvmkd_status status = tvmkd_cuda_acquire(instance->graph, instance->driver, instance->error);
  if (status) return status;
  instance->acquired = 1;
  void *left;
  TRY(cuCtxPushCurrent_v2, instance->graph->shared->context);
  status = prepare(instance);
  instance->driver->cuCtxPopCurrent_v2(&left);
  return status;
}

tvmkd_status tvmkd_cuda_open(const tvmkd_cuda_graph *graph, const tvmkd_options *options,
                             tvmkd_instance **made) {
  if (!made) {
    tvmkd_cuda_say(open_error, "open: instance is NULL");
    return TVMKD_BAD_ARGUMENT;
  }
  *made = NULL;
  size_t count = graph->argument_count;
  cuda_instance *instance =
      calloc(1, sizeof *instance + count * (sizeof(cuda_address) + sizeof(void *)));
  if (!instance) {
    tvmkd_cuda_say(open_error, "open: no memory");
    return TVMKD_NO_MEMORY;
  }
  instance->graph = graph;
  instance->addresses = (cuda_address *)(instance + 1);
  instance->params = (void **)(instance->addresses + count);
  const char *wrong = read_options(options, instance);
  if (!wrong) wrong = read_mode(&instance->mode);
  tvmkd_status status = wrong ? TVMKD_BAD_ARGUMENT : TVMKD_OK;
  if (wrong) tvmkd_cuda_say(instance->error, "%s", wrong);
  if (!status && !(instance->driver = tvmkd_cuda_driver(instance->error))) status = TVMKD_NO_DEVICE;
  if (!status) status = open_there(instance);
  if (status) {
    memcpy(open_error, instance->error, MESSAGE);
    tvmkd_cuda_close((tvmkd_instance *)instance);
    return status;
  }
  instance->error[0] = 0;
  *made = (tvmkd_instance *)instance;
  return TVMKD_OK;
}

void tvmkd_cuda_close(tvmkd_instance *opened) {
  cuda_instance *instance = (cuda_instance *)opened;
  if (!instance) return;
  const cuda_driver *driver = instance->driver;
  void *left;
  if (instance->acquired) {
    if (!driver->cuCtxPushCurrent_v2(instance->graph->shared->context)) {
      /* The memory goes when what a caller's stream still has to do with it is done. */
      if (instance->enqueued) driver->cuEventSynchronize(instance->last);
      if (instance->exec) driver->cuGraphExecDestroy(instance->exec);
      if (instance->event) driver->cuEventDestroy_v2(instance->event);
      if (instance->last) driver->cuEventDestroy_v2(instance->last);
      if (instance->stream) driver->cuStreamDestroy_v2(instance->stream);
      if (instance->mode == MANAGED && instance->io) driver->cuMemFree_v2(instance->io);
      if (instance->arena) driver->cuMemFree_v2(instance->arena);
      driver->cuCtxPopCurrent_v2(&left);
    }
    tvmkd_cuda_release(instance->graph, driver);
  }
  free(instance);
}

const char *tvmkd_cuda_last_error(const tvmkd_instance *opened) {
  return opened ? ((const cuda_instance *)opened)->error : open_error;
}
