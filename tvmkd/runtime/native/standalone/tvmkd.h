/* The C interface of a model that tvmkd compiled into one library (tvmkd build --runtime standalone).
 *
 * The library needs nothing but the C library. It is used through its description:
 *
 *     const tvmkd_library *model = tvmkd_library_v1();      or dlsym(handle, "tvmkd_library_v1")
 *     tvmkd_instance *instance;
 *     if (model->open(NULL, &instance) != TVMKD_OK) puts(model->last_error(NULL));
 *     model->run(instance, inputs, outputs);
 *     model->close(instance);
 *
 * An instance belongs to one thread at a time; any number of instances may be open. A run allocates
 * nothing, takes no lock and makes no system call but those that wake threads. */
#ifndef TVMKD_H
#define TVMKD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TVMKD_API_VERSION 1

typedef enum {
  TVMKD_OK = 0,
  TVMKD_BAD_ARGUMENT = 1, /* a null pointer, an option out of its range */
  TVMKD_NO_MEMORY = 2,
  TVMKD_WRONG_CPU = 3, /* this CPU lacks instructions that the library was built with */
  TVMKD_FAILED = 4,    /* a kernel or the system refused; see last_error */
  TVMKD_LATE = 5       /* not even the first exit is expected to be done at the deadline */
} tvmkd_status;

/* An input or an output. */
typedef struct {
  const char *name;     /* as in the ONNX file */
  const char *dtype;    /* as numpy's: "float32", "uint8", "bool", ... */
  const int64_t *shape; /* ndim sizes; the layout is C-contiguous */
  int32_t ndim;
  uint64_t bytes;
} tvmkd_tensor;

/* Set size to sizeof(tvmkd_options) and all else to zero, then what differs. */
typedef struct {
  uint32_t size;
  int32_t threads;     /* the calling thread included; 0: one for each core of the target, at most
                          one for each CPU that the process may use */
  const int32_t *cpus; /* CPUs to pin the threads to, the calling thread's first; NULL: none. The
                          caller is pinned by its next run and stays so. */
  int32_t cpu_count;   /* at least `threads` if `cpus` is given */
  int32_t spin_us;     /* how long a thread waits for the next kernel before it sleeps; 0: the
                          default, 50; -1: it sleeps at once */
} tvmkd_options;

typedef struct tvmkd_instance tvmkd_instance;

/* What a library is and does. Later versions add members at the end only: check `size`. */
typedef struct {
  uint32_t size;        /* sizeof(tvmkd_library) when the library was built */
  uint32_t api_version; /* TVMKD_API_VERSION */
  const char *name;     /* the model's */
  const char *target;   /* the target's name, such as "jetson-nano" */
  const char *built_by; /* "tvmkd 0.1.0, TVM 0.27.0" */
  const char *digest;   /* SHA-256 of the ONNX file, in hex */
  const tvmkd_tensor *inputs;
  const tvmkd_tensor *outputs;
  int32_t input_count;
  int32_t output_count;
  uint64_t weight_bytes; /* read-only, shared by all processes */
  uint64_t arena_bytes;  /* of each instance */
  int32_t exit_count;    /* 1, or the number of exits of a network with early exits */

  tvmkd_status (*open)(const tvmkd_options *options, tvmkd_instance **instance);

  /* Runs the model once; a network with early exits (exit_count above 1) leaves at the first one
   * whose confidence reaches its threshold. The confidence is the largest softmax probability of
   * the logits, which are the output. inputs[i] holds inputs[i].bytes bytes, outputs[i] likewise;
   * both lists are in the order of the description. Buffers that are aligned to 64 bytes are used
   * where they lie; others are copied. An output may not overlap an input or another output. */
  tvmkd_status (*run)(tvmkd_instance *instance, const void *const *inputs, void *const *outputs);

  /* As run, but with a deadline (CLOCK_MONOTONIC, in nanoseconds; INT64_MAX: none); writes the
   * number of the exit that was taken, from 0, to *exit_taken, which may be NULL. A network without
   * early exits has one exit.
   *
   * It leaves at the first confident exit, as run does, or at the last one that is expected to be
   * done at the deadline. The part of the network that leads to the next exit is expected to take
   * as long as the longest of its last 16 runs of the instance; before the first one nothing is
   * known, and it is run. If the first part is expected to be late, the outputs stay as they are
   * and TVMKD_LATE is returned.
   *
   * A deadline is kept as far as the expectation holds: a part that has begun is not stopped. One
   * slow run shall not rule a part out for ever: after it was left out 32 times in a row it is
   * tried once, though it may be late; each try that is late doubles the number of times before
   * the next, up to 1024. */
  tvmkd_status (*run_until)(tvmkd_instance *instance, const void *const *inputs,
                            void *const *outputs, int64_t deadline_ns, int32_t *exit_taken);

  /* The reason of the last failure of an instance; with NULL, of this thread's last open. Never
   * NULL; valid until the next call. */
  const char *(*last_error)(const tvmkd_instance *instance);

  void (*close)(tvmkd_instance *instance); /* NULL is allowed */

  /* exit_count - 1 thresholds, of all exits but the last; above 1: the exit is never taken for its
   * confidence. NULL: there are none. */
  const double *thresholds;

  /* As run, but leaves at this exit, from 0, and at no other. */
  tvmkd_status (*run_exit)(tvmkd_instance *instance, const void *const *inputs,
                           void *const *outputs, int32_t exit);
} tvmkd_library;

/* Every shared library has this symbol. A static one has it in a member of its own, so that several
 * models can be linked into one program by their own names (<name>_library, see <name>.h). */
const tvmkd_library *tvmkd_library_v1(void);

#ifdef __cplusplus
}
#endif
#endif
