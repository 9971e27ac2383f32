/* The C interface of a model that tvmkd compiled into one library (tvmkd build --runtime standalone).
 *
 * The library needs nothing but the C library; one for a GPU opens the GPU's driver itself. It is
 * used through its description:
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
#define TVMKD_EXIT_FEATURES 4 /* see exit_weights of tvmkd_library */

typedef enum {
  TVMKD_OK = 0,
  TVMKD_BAD_ARGUMENT = 1, /* a null pointer, an option out of its range */
  TVMKD_NO_MEMORY = 2,
  TVMKD_WRONG_CPU = 3, /* this CPU lacks instructions that the library was built with */
  TVMKD_FAILED = 4,    /* a kernel or the system refused; see last_error */
  TVMKD_LATE = 5,      /* not even the first exit is expected to be done at the deadline */
  TVMKD_NO_DEVICE = 6  /* no GPU here, or no driver, that can run this library for GPUs */
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

/* Frames: pixels in, boxes or classes out, in a library that was built with --with-preprocessing.
 *
 *     tvmkd_frame frame = {.size = sizeof frame, .pixels = camera, .width = 1280, .height = 720};
 *     tvmkd_result found[100];
 *     tvmkd_results results = {.size = sizeof results, .found = found, .room = 100};
 *     if (model->frames && model->run_frame(instance, &frame, NULL, &results) == TVMKD_OK)
 *       for (int i = 0; i < results.count; i++) puts(model->frames->classes[found[i].label]); */

/* The bytes of a pixel. X is not read; gray becomes three equal colours where the network takes
 * colours, and colours become their brightness (ITU-R 601) where it takes that. */
typedef enum {
  TVMKD_RGB = 0,
  TVMKD_BGR = 1,
  TVMKD_RGBX = 2,
  TVMKD_BGRX = 3,
  TVMKD_GRAY = 4
} tvmkd_order;

/* Set size to sizeof(tvmkd_frame) and all else to zero, then what differs. */
typedef struct {
  uint32_t size;
  int32_t width, height; /* pixels, at most those of tvmkd_frames; they may change between calls */
  int32_t order;         /* tvmkd_order */
  const uint8_t *pixels; /* of the top row; nothing is kept after the call */
  ptrdiff_t stride;      /* bytes from a row to the next one, below 0 if they lie bottom up; 0: the
                            rows follow each other */
  int64_t deadline_ns;   /* as for run_until; 0: none */
} tvmkd_frame;

/* A box of a detector; of a classifier a class, with the part of the frame that it saw. */
typedef struct {
  float x1, y1, x2, y2; /* pixels of the frame */
  float score;          /* above 0, at most 1 */
  int32_t label;        /* number of the class, from 0 */
} tvmkd_result;

/* Set size to sizeof(tvmkd_results) and all else to zero, then what differs. */
typedef struct {
  uint32_t size;
  int32_t room;        /* results that `found` has room for */
  tvmkd_result *found; /* gets the best ones, best first; of a detector in the order of tvmkd detect */
  double threshold;    /* results have a score above it; 0: as tvmkd_frames says; below 0: 0 */
  double overlap;      /* a box is dropped if a better one of its class overlaps it by more than this
                          intersection over union; 0: as tvmkd_frames says; below 0: 0 */
  /* Written by run_frame: */
  int32_t count;       /* results in `found` */
  int32_t total;       /* results that there are; more than `count` if there was no room */
  int32_t exit_taken;  /* as by run_until */
  int64_t prepare_ns;  /* resizing and normalising */
  int64_t model_ns;
  int64_t decode_ns;   /* from outputs to scores and candidates */
  int64_t suppress_ns; /* from candidates to results */
} tvmkd_results;

typedef enum { TVMKD_TENSORS = 0, TVMKD_CLASSIFY = 1, TVMKD_DETECT = 2 } tvmkd_task;

/* What a library does with frames. */
typedef struct {
  uint32_t size;                 /* sizeof(tvmkd_frames) when the library was built */
  int32_t task;                  /* tvmkd_task; TVMKD_TENSORS: there are outputs only, no results */
  int32_t max_width, max_height; /* of a frame, pixels; memory is planned for them */
  int32_t width, height;         /* of the network's input, pixels */
  int32_t channels;              /* of the network's input: 1 is brightness, 3 are colours */
  int32_t shorter;               /* a frame's shorter side is scaled to this, and the centre is cut
                                    out; 0: the whole frame is scaled */
  const float *subtract, *divide; /* of each channel: (value - subtract) / divide is its input */
  const char *const *classes;     /* names; NULL: unknown */
  int32_t class_count;
  int32_t max_results; /* there are never more */
  double threshold, overlap;
} tvmkd_frames;

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

  /* The reason of the last failure of an instance; with NULL, of this thread's last open, or of its
   * later call without an instance. Never NULL; valid until the next call. */
  const char *(*last_error)(const tvmkd_instance *instance);

  void (*close)(tvmkd_instance *instance); /* NULL is allowed */

  /* exit_count - 1 thresholds, of all exits but the last; above 1: the exit is never taken for its
   * confidence. NULL: there are none. */
  const double *thresholds;

  /* As run, but leaves at this exit, from 0, and at no other. */
  tvmkd_status (*run_exit)(tvmkd_instance *instance, const void *const *inputs,
                           void *const *outputs, int32_t exit);

  /* NULL in a library without pre-processing, as run_frame; both are missing in older ones, where
   * size is smaller. */
  const tvmkd_frames *frames;

  /* Runs the model on a frame. outputs is NULL, or as for run; results may be NULL, and gets what
   * the outputs mean. A threshold or an order may differ from call to call. */
  tvmkd_status (*run_frame)(tvmkd_instance *instance, const tvmkd_frame *frame,
                            void *const *outputs, tvmkd_results *results);

  /* Of a library for an NVIDIA GPU; NULL in others, and missing in older ones, where size is
   * smaller. As run, but inputs and outputs are addresses of the GPU's memory (of its primary
   * context, which the CUDA runtime uses too), and the work is put into the caller's stream: a
   * CUstream or cudaStream_t; NULL is the default stream. It returns before the work is done, and
   * kernels that fail are noticed where the stream is waited for. Runs of one instance follow each
   * other, whatever their streams. A stream that is being captured into a graph is refused. */
  tvmkd_status (*enqueue)(tvmkd_instance *instance, const void *const *inputs,
                          void *const *outputs, void *stream);

  /* exit_count temperatures, of early exits: the confidence is that of the logits divided by the
   * temperature of their exit (Guo et al., 2017). The outputs are the logits as they are. NULL:
   * each is 1; missing in older libraries, where size is smaller. */
  const double *temperatures;

  /* TVMKD_EXIT_FEATURES weights for each exit but the last: their sum with the features of the
   * logits is compared with the exit's threshold in place of the confidence. The features, each 0
   * to 1: the largest softmax probability; its distance to the second largest; 1 less the entropy
   * over its greatest possible value; the share of the exits before that chose the same class, 0
   * at the first. NULL: the confidence alone counts; missing in older libraries. */
  const double *exit_weights;
} tvmkd_library;

/* Every shared library has this symbol. A static one has it in a member of its own, so that several
 * models can be linked into one program by their own names (<name>_library, see <name>.h). */
const tvmkd_library *tvmkd_library_v1(void);

#ifdef __cplusplus
}
#endif
#endif
