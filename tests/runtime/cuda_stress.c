/* What users do with a standalone library for a GPU, on a driver without one: run under sanitizers.
 * The model is y = 2 (2 x) + w, with a copy of the first product as second output. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda.h"

enum { SIZE = 256, THREADS = 4 };

#define CHECK(holds)                                                     \
  do {                                                                   \
    if (!(holds)) {                                                      \
      printf("%s:%d: " #holds "\n", __FILE__, __LINE__);                 \
      exit(1);                                                           \
    }                                                                    \
  } while (0)

static const char ptx[] =
    ".version 6.4\n.target sm_53\n.address_size 64\n"
    ".visible .entry twice(.param .u64 twice_param_0, .param .u64 twice_param_1)\n"
    ".maxntid 64, 1, 1\n{\n"
    ".reg .f32 %f<3>;\n.reg .b32 %r<5>;\n.reg .b64 %rd<6>;\n"
    "ld.param.u64 %rd1, [twice_param_0];\nld.param.u64 %rd2, [twice_param_1];\n"
    "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\nmad.lo.s32 %r3, %r1, 64, %r2;\n"
    "mul.wide.s32 %rd3, %r3, 4;\nadd.s64 %rd4, %rd1, %rd3;\nadd.s64 %rd5, %rd2, %rd3;\n"
    "ld.global.f32 %f1, [%rd4];\nadd.f32 %f2, %f1, %f1;\nst.global.f32 [%rd5], %f2;\nret;\n}\n"
    ".visible .entry sum(.param .u64 sum_param_0, .param .u64 sum_param_1, .param .u64 sum_param_2)\n"
    ".maxntid 64, 1, 1\n{\n"
    ".reg .f32 %f<4>;\n.reg .b32 %r<5>;\n.reg .b64 %rd<9>;\n"
    "ld.param.u64 %rd1, [sum_param_0];\nld.param.u64 %rd2, [sum_param_1];\n"
    "ld.param.u64 %rd3, [sum_param_2];\n"
    "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\nmad.lo.s32 %r3, %r1, 64, %r2;\n"
    "mul.wide.s32 %rd4, %r3, 4;\nadd.s64 %rd5, %rd1, %rd4;\nadd.s64 %rd6, %rd2, %rd4;\n"
    "add.s64 %rd7, %rd3, %rd4;\nld.global.f32 %f1, [%rd5];\nld.global.f32 %f2, [%rd6];\n"
    "add.f32 %f3, %f1, %f2;\nst.global.f32 [%rd7], %f3;\nret;\n}\n";
static const int64_t shape[] = {SIZE};
static const tvmkd_tensor inputs[] = {{"x", "float32", shape, 1, SIZE * 4}};
static const tvmkd_tensor outputs[] = {{"y", "float32", shape, 1, SIZE * 4},
                                       {"z", "float32", shape, 1, SIZE * 4}};
static const char *const kernels[] = {"twice", "sum"};
static void *functions[2];
static const tvmkd_cuda_launch launches[] = {
    {0, 2, 0, {4, 1, 1}, {64, 1, 1}, 0},
    {0, 2, 2, {4, 1, 1}, {64, 1, 1}, 0},
    {1, 3, 4, {4, 1, 1}, {64, 1, 1}, 0},
    {COPY, 2, 7, {0}, {0}, SIZE * 4},
};
static const char *const ranges[] = {"twice", NULL, "sum", "copy"};
static const tvmkd_cuda_argument arguments[] = {
    {0, IN_INPUT},         {0, IN_ARENA},     {0, IN_ARENA}, {SIZE * 4, IN_ARENA}, {SIZE * 4, IN_ARENA},
    {0, IN_CONSTANTS}, {SIZE * 4, IN_OUTPUT}, {0, IN_ARENA}, {SIZE * 8, IN_OUTPUT},
};
static const uint64_t input_places[] = {0}, output_places[] = {SIZE * 4, SIZE * 8};
static _Alignas(64) float weights[SIZE];
static tvmkd_cuda_shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
static const tvmkd_library library = {
    .size = sizeof library, .inputs = inputs, .outputs = outputs, .input_count = 1,
    .output_count = 2, .exit_count = 1};
static const tvmkd_cuda_graph graph = {
    .library = &library, .shared = &shared, .functions = functions, .ptx = ptx, .kernels = kernels,
    .launches = launches, .ranges = ranges, .arguments = arguments, .inputs = input_places,
    .outputs = output_places,
    .constants = (const unsigned char *)weights, .constant_bytes = sizeof weights,
    .arena_bytes = SIZE * 8, .io_bytes = SIZE * 12, .kernel_count = 2, .launch_count = 4,
    .argument_count = 9, .capability = 53};

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static tvmkd_instance *opened(void) {
  tvmkd_instance *instance = NULL;
  CHECK(tvmkd_cuda_open(&graph, NULL, &instance) == TVMKD_OK);
  CHECK(instance && !*tvmkd_cuda_last_error(instance));
  return instance;
}

static void run(tvmkd_instance *instance, float first) {
  float x[SIZE], y[SIZE], z[SIZE];
  for (int i = 0; i < SIZE; i++) x[i] = first + (float)i;
  const void *given[] = {x};
  void *made[] = {y, z};
  CHECK(tvmkd_cuda_run(instance, given, made) == TVMKD_OK);
  for (int i = 0; i < SIZE; i++) CHECK(y[i] == 4 * x[i] + (float)i && z[i] == 2 * x[i]);
}

static int rounds;

static void *work(void *argument) {
  float first = (float)*(int *)argument;
  for (int i = 0; i < rounds; i++) {
    tvmkd_instance *instance = opened();
    run(instance, first);
    run(instance, -first);
    tvmkd_cuda_close(instance);
  }
  return NULL;
}

static void threads(void) {
  pthread_t started[THREADS];
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK(!pthread_create(&started[i], NULL, work, &numbers[i]));
  }
  for (int i = 0; i < THREADS; i++) pthread_join(started[i], NULL);
}

static void handed_on(void) {
  tvmkd_instance *instance = opened();
  run(instance, 1);
  pthread_t other;
  int number = 3;
  CHECK(!pthread_create(&other, NULL, work, &number));
  pthread_join(other, NULL);
  run(instance, 2); /* the last of the others did not take the weights along */
  tvmkd_cuda_close(instance);
}

static void refused(tvmkd_options options, const char *why) {
  tvmkd_instance *instance = (tvmkd_instance *)&options;
  CHECK(tvmkd_cuda_open(&graph, &options, &instance) == TVMKD_BAD_ARGUMENT && !instance);
  CHECK(!strcmp(tvmkd_cuda_last_error(NULL), why));
}

static void options(void) {
  int32_t cpus[] = {0, 1}, none[] = {-1};
  uint32_t size = sizeof(tvmkd_options);
  refused((tvmkd_options){0}, "options: size is not that of tvmkd_options");
  refused((tvmkd_options){.size = size, .threads = 65}, "options: threads must be from 0 to 64");
  refused((tvmkd_options){.size = size, .spin_us = -2}, "options: spin_us must be from -1 to 1000000");
  refused((tvmkd_options){.size = size, .cpus = cpus}, "options: fewer cpus than threads");
  refused((tvmkd_options){.size = size, .cpus = none, .cpu_count = 1}, "options: cpus: no such CPU");
  CHECK(tvmkd_cuda_open(&graph, NULL, NULL) == TVMKD_BAD_ARGUMENT);
  for (int32_t spin = -1; spin < 3; spin++) {
    tvmkd_options good = {.size = size, .threads = 1, .cpus = cpus, .cpu_count = 2, .spin_us = spin};
    tvmkd_instance *instance;
    CHECK(tvmkd_cuda_open(&graph, &good, &instance) == TVMKD_OK);
    run(instance, (float)spin);
    tvmkd_cuda_close(instance);
  }
  tvmkd_cuda_close(NULL);
}

static void errors(void) {
  float x[SIZE] = {0}, y[SIZE], z[SIZE];
  tvmkd_instance *instance = opened();
  const void *given[] = {x}, *nothing[] = {NULL};
  void *made[] = {y, z}, *half[] = {y, NULL};
  CHECK(tvmkd_cuda_run(NULL, given, made) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_cuda_run(instance, NULL, made) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_cuda_last_error(instance), "run: inputs is NULL"));
  CHECK(tvmkd_cuda_run(instance, nothing, made) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_cuda_last_error(instance), "run: x is NULL"));
  CHECK(tvmkd_cuda_run(instance, given, NULL) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_cuda_run(instance, given, half) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_cuda_last_error(instance), "run: z is NULL"));
  run(instance, 5);
  tvmkd_cuda_close(instance);
}

static void deadlines(void) {
  float x[SIZE] = {0}, y[SIZE], z[SIZE];
  const void *given[] = {x};
  void *made[] = {y, z};
  int32_t taken = 7;
  tvmkd_instance *instance = opened();
  CHECK(tvmkd_cuda_run_until(instance, given, made, now() - 1, &taken) == TVMKD_LATE && taken == 7);
  CHECK(!strcmp(tvmkd_cuda_last_error(instance), "run_until: the first exit would be late"));
  CHECK(tvmkd_cuda_run_until(instance, given, made, now() + 10000000000, &taken) == TVMKD_OK);
  CHECK(!taken);
  /* A run takes some microseconds, which the instance remembers. */
  CHECK(tvmkd_cuda_run_until(instance, given, made, now() + 1000, NULL) == TVMKD_LATE);
  CHECK(tvmkd_cuda_run_until(instance, given, made, INT64_MIN, NULL) == TVMKD_LATE);
  CHECK(tvmkd_cuda_run_until(instance, given, made, INT64_MAX, NULL) == TVMKD_OK);
  CHECK(tvmkd_cuda_run_until(NULL, given, made, now(), NULL) == TVMKD_BAD_ARGUMENT);
  CHECK(tvmkd_cuda_run_exit(instance, given, made, 0) == TVMKD_OK);
  CHECK(tvmkd_cuda_run_exit(instance, given, made, 1) == TVMKD_BAD_ARGUMENT);
  CHECK(!strcmp(tvmkd_cuda_last_error(instance), "run_exit: there is no such exit"));
  CHECK(tvmkd_cuda_run_exit(NULL, given, made, 0) == TVMKD_BAD_ARGUMENT);
  tvmkd_cuda_close(instance);
}

int main(int count, char **words) {
  static const struct { const char *name; void (*run)(void); } cases[] = {
      {"threads", threads}, {"handed_on", handed_on}, {"options", options},
      {"errors", errors},   {"deadlines", deadlines}};
  CHECK(count == 3);
  rounds = atoi(words[2]);
  for (int i = 0; i < SIZE; i++) weights[i] = (float)i;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (strcmp(words[1], cases[i].name)) continue;
    cases[i].run();
    puts("ok");
    return 0;
  }
  return 2;
}
