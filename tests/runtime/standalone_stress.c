/* A model of three kernels written by hand on the runtime of standalone libraries, and what users
 * may do to it: standalone_stress CASE. Prints "ok", or what was wrong. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#define SIZE 4096
typedef struct {
  void *barrier;
  int32_t count;
} group;
typedef int launch(int (*)(int, group *, void *), void *, int);
typedef void *take(int, int, uint64_t, int, int);
typedef int give(int, int, void *);
extern void *__TVMBackendParallelLaunch, *__TVMBackendAllocWorkspace, *__TVMBackendFreeWorkspace;
void TVMFFIErrorSetRaisedFromCStrParts(const char *, const char **, int32_t);

typedef struct {
  const float *from;
  float *to;
} job;

static int fail(const char *why) {
  const char *parts[] = {"Check failed: ", why};
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
  return -1;
}

/* A loop inside the loop runs on the same thread. */
static int inner(int number, group *env, void *data) {
  *(int *)data += number == 0 && env->count == 1;
  return 0;
}

static int body(int number, group *env, void *data) {
  const job *mine = data;
  int chunk = (SIZE + env->count - 1) / env->count, nested = 0;
  float *scratch = ((take *)__TVMBackendAllocWorkspace)(1, 0, sizeof(float) * SIZE, 2, 32);
  if (!scratch) return fail("no scratch");
  if (((take *)__TVMBackendAllocWorkspace)(1, 0, 64, 2, 32)) return fail("more than there is");
  for (int i = number * chunk; i < (number + 1) * chunk && i < SIZE; i++) {
    if (mine->from[i] == -1) return fail("it is -1");
    scratch[i] = 2 * mine->from[i];
    mine->to[i] = scratch[i];
  }
  ((give *)__TVMBackendFreeWorkspace)(1, 0, scratch);
  ((launch *)__TVMBackendParallelLaunch)(inner, &nested, 0);
  return nested == 1 ? 0 : fail("a loop inside a loop");
}

static int32_t twice(void *self, const tvmkd_argument *a, int32_t count, tvmkd_argument *result) {
  (void)self, (void)count, (void)result;
  job mine = {a[0].tensor->data, a[1].tensor->data};
  if ((uintptr_t)mine.from % ALIGNMENT || (uintptr_t)mine.to % ALIGNMENT) return fail("alignment");
  return ((launch *)__TVMBackendParallelLaunch)(body, &mine, 0);
}

static const int64_t sizes[] = {SIZE, 1};
static const tvmkd_place places[] = {
    {sizes, sizes + 1, 0, IN_INPUT, 2, 32, 1},
    {sizes, sizes + 1, 0, IN_OUTPUT, 2, 32, 1},
    {sizes, sizes + 1, 1, IN_OUTPUT, 2, 32, 1},
    {sizes, sizes + 1, 0, IN_ARENA, 2, 32, 1},
};
static const uint16_t arguments[] = {0, 3, 3, 1, 0, 2};
static const char *const kernels[] = {"first", "second", "copy"};
static const uint32_t features[] = {0};
static const tvmkd_tensor tensors[] = {{"x", "float32", sizes, 1, SIZE * 4},
                                       {"y", "float32", sizes, 1, SIZE * 4},
                                       {"z", "float32", sizes, 1, SIZE * 4}};
static int32_t part_0(const tvmkd_argument *a) {
  tvmkd_argument r;
  if (twice(0, a, 2, &r)) return 1;
  return twice(0, a + 2, 2, &r) ? 2 : 0;
}
static int slow;
static int32_t part_1(const tvmkd_argument *a) {
  tvmkd_argument r;
  if (slow) usleep(20000);
  return tvmkd_rt_copy(0, a + 4, 2, &r) ? 3 : 0;
}
static int32_t (*const parts[])(const tvmkd_argument *) = {part_0, part_1};
static const tvmkd_library library = {.size = sizeof library, .name = "stress", .inputs = tensors,
                                      .outputs = tensors + 1, .input_count = 1, .output_count = 2,
                                      .arena_bytes = SIZE * 4, .exit_count = 2};
static const tvmkd_graph graph = {.library = &library, .places = places, .arguments = arguments,
                                  .kernels = kernels, .place_count = 4, .argument_count = 6,
                                  .scratch_bytes = SIZE * 4, .threads = 4, .features = features,
                                  .parts = parts};

#define CHECK(condition)                                            \
  do {                                                              \
    if (!(condition)) {                                             \
      printf("line %d: not so: %s\n", __LINE__, #condition);        \
      exit(1);                                                      \
    }                                                               \
  } while (0)

static void *place(size_t shift) {
  unsigned char *block = aligned_alloc(ALIGNMENT, SIZE * 4 + ALIGNMENT);
  CHECK(block);
  return block + shift;
}

static void put_back(void *given, size_t shift) { free((unsigned char *)given - shift); }

static void run_many(tvmkd_instance *instance, int times, size_t shift) {
  float *x = place(shift), *y = place(shift), *z = place(0);
  const void *inputs[] = {x};
  void *outputs[] = {y, z};
  for (int turn = 0; turn < times; turn++) {
    for (int i = 0; i < SIZE; i++) x[i] = (float)(i + turn);
    CHECK(tvmkd_rt_run(instance, inputs, outputs) == TVMKD_OK);
    for (int i = 0; i < SIZE; i++) CHECK(y[i] == 4 * x[i] && z[i] == x[i]);
  }
  put_back(x, shift), put_back(y, shift), put_back(z, 0);
}

static tvmkd_instance *opened(int threads) {
  tvmkd_options options = {.size = sizeof options, .threads = threads};
  tvmkd_instance *instance;
  CHECK(tvmkd_rt_open(&graph, &options, &instance) == TVMKD_OK);
  return instance;
}

static int turns = 200;

static void *user(void *argument) {
  tvmkd_instance *instance = opened(1 + (int)(intptr_t)argument % 4);
  run_many(instance, turns, (size_t)(intptr_t)argument % 2 * 4);
  tvmkd_rt_close(instance);
  return NULL;
}

static void eight_threads(void) {
  pthread_t threads[8];
  for (intptr_t each = 0; each < 8; each++)
    CHECK(!pthread_create(&threads[each], NULL, user, (void *)each));
  for (int each = 0; each < 8; each++) pthread_join(threads[each], NULL);
}

/* One instance used by one thread after the other. */
static void handed_on(void) {
  tvmkd_instance *instance = opened(3);
  for (int each = 0; each < 3; each++) run_many(instance, 10, 0);
  tvmkd_rt_close(instance);
}

static void open_and_close(void) {
  for (int turn = 0; turn < 50 * turns; turn++) {
    tvmkd_instance *instance = opened(2);
    if (turn % 100 == 0) run_many(instance, 1, 0);
    tvmkd_rt_close(instance);
  }
  tvmkd_rt_close(NULL);
}

static void errors(void) {
  tvmkd_instance *instance = opened(4);
  float *x = place(0), *y = place(0), *z = place(4);
  const void *inputs[] = {x}, *none[] = {NULL};
  void *outputs[] = {y, z}, *half[] = {y, NULL};
  for (int i = 0; i < SIZE; i++) x[i] = -1;
  for (int turn = 0; turn < 3; turn++) { /* scratch memory is given back each time */
    CHECK(tvmkd_rt_run(instance, inputs, outputs) == TVMKD_FAILED);
    CHECK(!strcmp(tvmkd_rt_last_error(instance), "kernel first: Check failed: it is -1"));
  }
  CHECK(tvmkd_rt_run(instance, none, outputs) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(instance), "run: input x is NULL"));
  CHECK(tvmkd_rt_run(instance, inputs, half) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(instance), "run: output z is NULL"));
  CHECK(tvmkd_rt_run(instance, NULL, outputs) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_rt_run(instance, inputs, NULL) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_rt_run(NULL, inputs, outputs) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(NULL), "run: instance is NULL"));
  CHECK(tvmkd_rt_run_exit(NULL, inputs, outputs, 0) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(NULL), "run_exit: instance is NULL"));
  CHECK(tvmkd_rt_run_until(NULL, inputs, outputs, 0, NULL) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(NULL), "run_until: instance is NULL"));
  run_many(instance, 2, 0);
  tvmkd_rt_close(instance);
  put_back(x, 0), put_back(y, 0), put_back(z, 4);
}

static void options(void) {
  static const int32_t far[] = {0, 1 << 20}, first[] = {0};
  const tvmkd_options wrong[] = {
      {.size = 0},
      {.size = 4, .threads = 1}, /* smaller than any version */
      {.size = sizeof *wrong - 1},
      {.size = sizeof *wrong, .threads = -1},
      {.size = sizeof *wrong, .threads = 65},
      {.size = sizeof *wrong, .spin_us = -2},
      {.size = sizeof *wrong, .threads = 2, .cpus = first, .cpu_count = 1},
      {.size = sizeof *wrong, .threads = 2, .cpus = far, .cpu_count = 2},
  };
  tvmkd_instance *instance = (void *)1;
  for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++) {
    CHECK(tvmkd_rt_open(&graph, &wrong[each], &instance) == TVMKD_BAD_ARGUMENT);
    CHECK(!instance && !strncmp(tvmkd_rt_last_error(NULL), "options: ", 9));
  }
  CHECK(tvmkd_rt_open(&graph, NULL, NULL) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_rt_last_error(NULL), "open: instance is NULL"));
  static const int32_t absent[] = {0, CPU_SETSIZE - 1}; /* no kernel here has so many */
  tvmkd_options nowhere = {.size = sizeof nowhere, .threads = 2, .cpus = absent, .cpu_count = 2};
  cpu_set_t before, after;
  sched_getaffinity(0, sizeof before, &before);
  CHECK(tvmkd_rt_open(&graph, &nowhere, &instance) == TVMKD_BAD_ARGUMENT && !instance);
  CHECK(strstr(tvmkd_rt_last_error(NULL), "may not use one of these CPUs"));
  sched_getaffinity(0, sizeof after, &after);
  CHECK(CPU_EQUAL(&before, &after));
  static const uint32_t never[] = {0xffffff00 | 31, 0};
  tvmkd_graph other = graph;
  other.features = never;
  CHECK(tvmkd_rt_open(&other, NULL, &instance) == TVMKD_WRONG_CPU && !instance);
  tvmkd_library huge = library;
  huge.arena_bytes = UINT64_C(1) << 60;
  other = graph;
  other.library = &huge;
  CHECK(tvmkd_rt_open(&other, NULL, &instance) == TVMKD_NO_MEMORY && !instance);
  tvmkd_options pinned = {.size = sizeof pinned, .cpus = first, .cpu_count = 1, .spin_us = -1};
  CHECK(tvmkd_rt_open(&graph, &pinned, &instance) == TVMKD_OK);
  CHECK(!*tvmkd_rt_last_error(NULL)); /* what was wrong before is told no more */
  run_many(instance, 3, 0);
  tvmkd_rt_close(instance);
}

/* A child that was forked has none of the threads: the caller does their work. */
static void forked(void) {
  tvmkd_instance *instance = opened(4);
  run_many(instance, 2, 0);
  pid_t child = fork();
  if (!child) {
    run_many(instance, 2, 0);
    _exit(0);
  }
  int status;
  extern pid_t waitpid(pid_t, int *, int);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  tvmkd_rt_close(instance);
}

#include <time.h>
static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void deadlines(void) {
  tvmkd_instance *instance = opened(1);
  float *x = place(0), *y = place(0), *z = place(0);
  const void *inputs[] = {x};
  void *outputs[] = {y, z};
  memset(x, 0, SIZE * 4);
  int32_t taken = -1;
  slow = 1;
  CHECK(tvmkd_rt_run_until(instance, inputs, outputs, INT64_MAX, &taken) == TVMKD_OK);
  CHECK(taken == 1);
  CHECK(tvmkd_rt_run_until(instance, inputs, outputs, now() + 10000000, &taken) == TVMKD_OK);
  CHECK(taken == 0); /* the second part takes 20 ms */
  CHECK(tvmkd_rt_run_until(instance, inputs, outputs, now() - 1, &taken) == TVMKD_LATE);
  CHECK(tvmkd_rt_run_exit(instance, inputs, outputs, 0) == TVMKD_OK);
  CHECK(tvmkd_rt_run_exit(instance, inputs, outputs, 2) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_rt_run_exit(NULL, inputs, outputs, 0) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_rt_run_until(instance, inputs, outputs, now() + 1000000000, NULL) == TVMKD_OK);
  slow = 0; /* sixteen fast runs, and the slow ones are forgotten */
  for (int turn = 0; turn < 16; turn++)
    CHECK(tvmkd_rt_run_until(instance, inputs, outputs, INT64_MAX, &taken) == TVMKD_OK);
  CHECK(tvmkd_rt_run_until(instance, inputs, outputs, now() + 10000000, &taken) == TVMKD_OK);
  CHECK(taken == 1);
  tvmkd_rt_close(instance);
  put_back(x, 0), put_back(y, 0), put_back(z, 0);
}

int main(int count, char **words) {
  static const struct {
    const char *name;
    void (*run)(void);
  } cases[] = {{"eight_threads", eight_threads}, {"handed_on", handed_on}, {"errors", errors},
               {"open_and_close", open_and_close}, {"options", options}, {"forked", forked},
               {"deadlines", deadlines}};
  if (count > 2) turns = atoi(words[2]);
  for (size_t each = 0; each < sizeof cases / sizeof *cases; each++)
    if (count > 1 && !strcmp(words[1], cases[each].name)) {
      cases[each].run();
      puts("ok");
      return 0;
    }
  return 2;
}
