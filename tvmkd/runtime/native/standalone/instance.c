/* Opens, runs and closes a model: one block of memory for each instance, taken when it is opened. */
#define _GNU_SOURCE
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "runtime.h"

#define DEFAULT_SPIN_US 50
#define LONGEST_SPIN_US 1000000
/* The size of tvmkd_options in its first version: there are no smaller ones. */
#define FIRST_OPTIONS (offsetof(tvmkd_options, spin_us) + sizeof(int32_t))

static _Thread_local const char *open_error = "";

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int is_aligned(const void *place) { return (uintptr_t)place % ALIGNMENT == 0; }

static tvmkd_status refuse(tvmkd_status status, const char *reason) {
  open_error = reason;
  return status;
}

static int allowed_cpus(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

/* Whether threads can be pinned to these CPUs: what the kernel makes of them tells. The calling
 * thread's own set does not, since a run of another instance may have pinned it. */
static int may_use(const int32_t *cpus, int32_t count) {
  cpu_set_t before, wanted, got;
  CPU_ZERO(&wanted);
  for (int32_t each = 0; each < count; each++) CPU_SET(cpus[each], &wanted);
  if (sched_getaffinity(0, sizeof before, &before)) return 1; /* more CPUs than a set holds */
  int good = !sched_setaffinity(0, sizeof wanted, &wanted) &&
             !sched_getaffinity(0, sizeof got, &got) && CPU_EQUAL(&wanted, &got);
  sched_setaffinity(0, sizeof before, &before);
  return good;
}

static void append(char *text, size_t size, const char *more) {
  size_t used = strlen(text), length = strlen(more);
  if (length > size - 1 - used) length = size - 1 - used;
  memcpy(text + used, more, length);
  text[used + length] = 0;
}

/* Checks the options and fills in what they leave open; the reason if they cannot be. */
static const char *complete(const tvmkd_graph *graph, const tvmkd_options *given,
                            tvmkd_options *options) {
  memset(options, 0, sizeof *options);
  if (given) {
    if (given->size < FIRST_OPTIONS) return "options: size is not that of tvmkd_options";
    memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
  }
  if (options->threads < 0 || options->threads > MOST_THREADS)
    return "options: threads must be from 0 to 64";
  if (options->spin_us < -1 || options->spin_us > LONGEST_SPIN_US)
    return "options: spin_us must be from -1 to 1000000";
  if (!options->threads) {
    int most = options->cpus ? options->cpu_count : allowed_cpus();
    options->threads = graph->threads < most ? graph->threads : most;
    if (options->threads < 1) options->threads = 1;
  }
  if (options->cpus) {
    if (options->cpu_count < options->threads) return "options: fewer cpus than threads";
    for (int32_t each = 0; each < options->cpu_count; each++)
      if (options->cpus[each] < 0 || options->cpus[each] >= CPU_SETSIZE)
        return "options: cpus: no such CPU";
    if (!may_use(options->cpus, options->cpu_count))
      return "options: cpus: this process may not use one of these CPUs, or there is no such one";
  }
  return NULL;
}

/* The parts of an instance's block, one after the other; with NULL, only its size. */
static size_t lay_out(const tvmkd_graph *graph, int threads, tvmkd_instance *instance) {
  const tvmkd_library *library = graph->library;
  unsigned char *block = (unsigned char *)instance;
  size_t used = aligned(sizeof *instance);
#define TAKE(field, size)                                       \
  do {                                                          \
    if (block) instance->field = (void *)(block + used);        \
    used += aligned(size);                                      \
  } while (0)
  TAKE(pool, tvmkd_rt_pool_bytes(threads));
  TAKE(tensors, graph->place_count * sizeof(tvmkd_dltensor));
  TAKE(arguments, graph->argument_count * sizeof(tvmkd_argument));
  TAKE(inputs, (size_t)library->input_count * sizeof(void *));
  TAKE(outputs, (size_t)library->output_count * sizeof(void *));
  TAKE(parts, (size_t)library->exit_count * sizeof(tvmkd_part));
  if (graph->frames) TAKE(frames, graph->frame_bytes(graph->frames, threads));
#undef TAKE
  return used;
}

static void connect(tvmkd_instance *instance, unsigned char *arena) {
  const tvmkd_graph *graph = instance->graph;
  for (uint32_t number = 0; number < graph->place_count; number++) {
    const tvmkd_place *place = &graph->places[number];
    tvmkd_dltensor *tensor = &instance->tensors[number];
    tensor->device_type = DEVICE_CPU;
    tensor->ndim = place->ndim;
    tensor->code = place->code;
    tensor->bits = place->bits;
    tensor->lanes = 1;
    tensor->shape = place->shape;
    tensor->strides = place->strides;
    if (place->place == IN_ARENA) tensor->data = arena + place->offset;
    if (place->place == IN_CONSTANTS) tensor->data = (void *)(graph->constants + place->offset);
  }
  for (uint32_t number = 0; number < graph->argument_count; number++) {
    instance->arguments[number].type = TENSOR_POINTER;
    instance->arguments[number].tensor = &instance->tensors[graph->arguments[number]];
  }
}

tvmkd_status tvmkd_rt_open(const tvmkd_graph *graph, const tvmkd_options *given,
                           tvmkd_instance **made) {
  const tvmkd_library *library = graph->library;
  if (!made) return refuse(TVMKD_BAD_ARGUMENT, "open: instance is NULL");
  *made = NULL;
  tvmkd_options options;
  const char *wrong = complete(graph, given, &options);
  if (wrong) return refuse(TVMKD_BAD_ARGUMENT, wrong);
  for (const uint32_t *feature = graph->features; *feature; feature++)
    if (!tvmkd_rt_has(*feature))
      return refuse(TVMKD_WRONG_CPU, "this CPU lacks instructions that the library was built with");
  size_t head = lay_out(graph, options.threads, NULL);
  size_t bytes = head + library->arena_bytes + (size_t)options.threads * graph->scratch_bytes;
  size_t copies = bytes; /* of buffers that are not aligned: no page of it is used before */
  for (int32_t each = 0; each < library->input_count; each++)
    bytes += aligned(library->inputs[each].bytes);
  for (int32_t each = 0; each < library->output_count; each++)
    bytes += aligned(library->outputs[each].bytes);
  tvmkd_instance *instance =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (instance == MAP_FAILED) return refuse(TVMKD_NO_MEMORY, "open: no memory");
  instance->graph = graph;
  instance->bytes = bytes;
  instance->threads = options.threads;
  lay_out(graph, options.threads, instance);
  unsigned char *block = (unsigned char *)instance;
  for (int32_t each = 0; each < library->input_count; each++) {
    instance->inputs[each] = block + copies;
    copies += aligned(library->inputs[each].bytes);
  }
  for (int32_t each = 0; each < library->output_count; each++) {
    instance->outputs[each] = block + copies;
    copies += aligned(library->outputs[each].bytes);
  }
  connect(instance, block + head);
  int64_t spin_us = options.spin_us ? options.spin_us : DEFAULT_SPIN_US;
  if (tvmkd_rt_pool_start(instance->pool, options.threads, options.cpus,
                          spin_us < 0 ? 0 : spin_us * 1000, block + head + library->arena_bytes,
                          graph->scratch_bytes)) {
    munmap(instance, bytes);
    return refuse(TVMKD_NO_MEMORY, "open: the system refuses another thread");
  }
  *made = instance;
  return refuse(TVMKD_OK, "");
}

void tvmkd_rt_close(tvmkd_instance *instance) {
  if (!instance) return;
  tvmkd_rt_pool_stop(instance->pool);
  munmap(instance, instance->bytes);
}

const char *tvmkd_rt_last_error(const tvmkd_instance *instance) {
  return instance ? instance->error : open_error;
}

tvmkd_status tvmkd_rt_fail(tvmkd_instance *instance, tvmkd_status status, const char *what,
                           const char *name, const char *why) {
  if (!instance) return refuse(status, what);
  const char *words[] = {what, name, why};
  instance->error[0] = 0;
  for (size_t each = 0; each < sizeof words / sizeof *words; each++)
    append(instance->error, sizeof instance->error, words[each]);
  return status;
}

/* Gives the buffers of this run to the tensors that stand for inputs and outputs. */
static tvmkd_status bind(tvmkd_instance *instance, const void *const *inputs,
                         void *const *outputs) {
  const tvmkd_graph *graph = instance->graph;
  const tvmkd_library *library = graph->library;
  if ((!inputs && library->input_count) || !outputs)
    return tvmkd_rt_fail(instance, TVMKD_BAD_ARGUMENT, "run: ", inputs ? "outputs" : "inputs",
                         " is NULL");
  /* The generated file lists these places first: the inputs', then the outputs'. */
  for (uint32_t number = 0; number < graph->place_count; number++) {
    const tvmkd_place *place = &graph->places[number];
    if (place->place != IN_INPUT && place->place != IN_OUTPUT) break;
    int is_input = place->place == IN_INPUT;
    size_t each = place->offset;
    const void *given = is_input ? inputs[each] : outputs[each];
    if (!given)
      return tvmkd_rt_fail(instance, TVMKD_BAD_ARGUMENT, is_input ? "run: input " : "run: output ",
                           is_input ? library->inputs[each].name : library->outputs[each].name,
                           " is NULL");
    void *used = (void *)given;
    if (!is_aligned(given)) {
      used = is_input ? instance->inputs[each] : instance->outputs[each];
      if (is_input) memcpy(used, given, library->inputs[each].bytes);
    }
    instance->tensors[number].data = used;
    if (!is_input && !each) instance->logits = used;
  }
  return TVMKD_OK;
}

static void copy_out(tvmkd_instance *instance, void *const *outputs) {
  const tvmkd_library *library = instance->graph->library;
  for (int32_t each = 0; each < library->output_count; each++)
    if (!is_aligned(outputs[each]))
      memcpy(outputs[each], instance->outputs[each], library->outputs[each].bytes);
}

static tvmkd_status run_part(tvmkd_instance *instance, int32_t part) {
  const tvmkd_graph *graph = instance->graph;
  int32_t failed = graph->parts[part](instance->arguments);
  if (!failed) return TVMKD_OK;
  const char *reason = tvmkd_rt_pool_reason(instance->pool);
  char name[160] = "";
  append(name, sizeof name, graph->kernels[failed - 1]);
  append(name, sizeof name, ": ");
  return tvmkd_rt_fail(instance, TVMKD_FAILED, "kernel ", name, reason ? reason : "it failed");
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Whether to leave at an exit, since the network is sure there. */
static int sure(const tvmkd_instance *instance, int32_t exit) {
  const tvmkd_library *library = instance->graph->library;
  if (exit + 1 == library->exit_count) return 1;
  return tvmkd_rt_leaves(library, instance->parts, exit, (const float *)instance->logits,
                         library->outputs[0].bytes / sizeof(float));
}

tvmkd_status tvmkd_rt_run(tvmkd_instance *instance, const void *const *inputs,
                          void *const *outputs) {
  if (!instance) return refuse(TVMKD_BAD_ARGUMENT, "run: instance is NULL");
  tvmkd_status status = bind(instance, inputs, outputs);
  if (status) return status;
  tvmkd_rt_pool_enter(instance->pool);
  for (int32_t part = 0;; part++)
    if ((status = run_part(instance, part)) || sure(instance, part)) break;
  tvmkd_rt_pool_leave(instance->pool);
  if (!status) copy_out(instance, outputs);
  return status;
}

tvmkd_status tvmkd_rt_run_exit(tvmkd_instance *instance, const void *const *inputs,
                               void *const *outputs, int32_t exit) {
  if (!instance) return refuse(TVMKD_BAD_ARGUMENT, "run_exit: instance is NULL");
  if (exit < 0 || exit >= instance->graph->library->exit_count)
    return tvmkd_rt_fail(instance, TVMKD_BAD_ARGUMENT, "run_exit: ", "there is no such exit", "");
  tvmkd_status status = bind(instance, inputs, outputs);
  if (status) return status;
  tvmkd_rt_pool_enter(instance->pool);
  for (int32_t part = 0; !status && part <= exit; part++) status = run_part(instance, part);
  tvmkd_rt_pool_leave(instance->pool);
  if (!status) copy_out(instance, outputs);
  return status;
}

tvmkd_status tvmkd_rt_run_until(tvmkd_instance *instance, const void *const *inputs,
                                void *const *outputs, int64_t deadline_ns, int32_t *exit_taken) {
  if (!instance) return refuse(TVMKD_BAD_ARGUMENT, "run_until: instance is NULL");
  int64_t time = now();
  /* A deadline may be any number: differences from it must not overflow. */
  if (deadline_ns < 0) deadline_ns = 0;
  if (!tvmkd_rt_fits(&instance->parts[0], deadline_ns - time))
    return tvmkd_rt_fail(instance, TVMKD_LATE, "run_until: ", "the first exit", " would be late");
  tvmkd_status status = bind(instance, inputs, outputs);
  if (status) return status;
  int32_t part = 0;
  tvmkd_rt_pool_enter(instance->pool);
  for (;; part++) {
    status = run_part(instance, part);
    if (status) break;
    int64_t end = now();
    tvmkd_rt_took(&instance->parts[part], end - time, deadline_ns - time);
    if (sure(instance, part)) break;
    time = end;
    if (!tvmkd_rt_fits(&instance->parts[part + 1], deadline_ns - time)) break;
  }
  tvmkd_rt_pool_leave(instance->pool);
  if (status) return status;
  if (exit_taken) *exit_taken = part;
  copy_out(instance, outputs);
  return TVMKD_OK;
}

/* A kernel: copies one tensor to another of the same size. */
int32_t tvmkd_rt_copy(void *self, const tvmkd_argument *arguments, int32_t count,
                      tvmkd_argument *result) {
  (void)self, (void)count, (void)result;
  const tvmkd_dltensor *from = arguments[0].tensor, *to = arguments[1].tensor;
  size_t bytes = (size_t)from->bits / 8;
  for (int32_t axis = 0; axis < from->ndim; axis++) bytes *= (size_t)from->shape[axis];
  memcpy(to->data, from->data, bytes);
  return 0;
}
