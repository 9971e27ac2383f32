/* The threads of an instance, and what kernels call: a parallel loop, scratch memory, an error.
 *
 * The calling thread takes part. Each loop has a task for every thread; a thread takes its own task,
 * then any that nobody has begun, so that a thread which the system has not woken yet, or has given
 * to another process, delays nobody: its task is done by then. A thread waits for the next loop with
 * pause instructions, then sleeps on a futex. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime.h"

typedef struct {
  _Alignas(ALIGNMENT) _Atomic uint32_t taken; /* the loop whose task of this number was begun */
  unsigned char *scratch, *top, *end;
  tvmkd_pool *pool;
  pthread_t thread;
  int number, cpu;
} worker;

struct tvmkd_pool {
  _Alignas(ALIGNMENT) _Atomic uint32_t loop; /* one more for each */
  _Alignas(ALIGNMENT) _Atomic uint32_t left; /* tasks that are not done */
  _Alignas(ALIGNMENT) _Atomic uint32_t sleeping;
  _Atomic uint32_t waiting; /* the caller sleeps on `left` */
  _Atomic uint32_t failed;
  _Atomic uint32_t stop;
  _Atomic uint32_t telling, told; /* `reason` is being written; is complete */
  _Alignas(ALIGNMENT) tvmkd_task_body *body;
  void *data;
  tvmkd_group env;
  int threads, busy;
  int64_t spin_ns;
  char reason[160];
  worker workers[]; /* the first is the calling thread */
};

/* The worker that this thread is; of the calling thread only while it runs a model. */
static _Thread_local worker *here;

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void rest(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *place, uint32_t value) {
  syscall(SYS_futex, place, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *place, int count) {
  syscall(SYS_futex, place, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Waits with pause instructions; 1 if the value changed in time. */
static int spun(_Atomic uint32_t *place, uint32_t value, int64_t nanoseconds) {
  int64_t end = 0;
  do {
    for (int turn = 0; turn < 32; turn++) {
      if (atomic_load_explicit(place, memory_order_acquire) != value) return 1;
      rest();
    }
    int64_t time = now();
    if (!end) end = time + nanoseconds;
    if (time >= end) return 0;
  } while (1);
}

/* Takes a task, if nobody has, and does it. A task that fails may keep scratch memory. */
static uint32_t do_task(worker *mine, int number, uint32_t loop) {
  tvmkd_pool *pool = mine->pool;
  uint32_t before = loop - 1;
  if (!atomic_compare_exchange_strong(&pool->workers[number].taken, &before, loop)) return 0;
  unsigned char *top = mine->top;
  if (pool->body(number, &pool->env, pool->data)) atomic_store(&pool->failed, 1);
  mine->top = top;
  return 1;
}

/* Does the tasks of a loop that nobody has begun, from `first` on; returns how many. */
static uint32_t do_tasks(worker *mine, int first, uint32_t loop) {
  uint32_t done = 0;
  for (int step = 0, count = mine->pool->env.count; step < count; step++)
    done += do_task(mine, first + step < count ? first + step : first + step - count, loop);
  return done;
}

/* A worker reads the loop's fields only after it took one of its tasks: until that is done the
 * caller does not change them. */
static void help(worker *mine, uint32_t loop) {
  tvmkd_pool *pool = mine->pool;
  if (!do_task(mine, mine->number, loop)) return;
  uint32_t done = 1 + do_tasks(mine, mine->number, loop);
  if (atomic_fetch_sub(&pool->left, done) == done && atomic_load(&pool->waiting))
    futex_wake(&pool->left, 1);
}

static void pin(int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  sched_setaffinity(0, sizeof only, &only); /* refused: the thread runs where it may */
}

static void *work(void *argument) {
  worker *mine = argument;
  tvmkd_pool *pool = mine->pool;
  here = mine;
  if (mine->cpu >= 0) pin(mine->cpu);
  for (uint32_t seen = 0; !atomic_load(&pool->stop);) {
    if (!spun(&pool->loop, seen, pool->spin_ns)) {
      atomic_fetch_add(&pool->sleeping, 1);
      while (atomic_load(&pool->loop) == seen) futex_wait(&pool->loop, seen);
      atomic_fetch_sub(&pool->sleeping, 1);
    }
    seen = atomic_load(&pool->loop);
    if (!atomic_load(&pool->stop)) help(mine, seen);
  }
  return NULL;
}

size_t tvmkd_rt_pool_bytes(int threads) {
  return sizeof(tvmkd_pool) + (size_t)threads * sizeof(worker);
}

/* Starts the threads but the caller's in zeroed memory of tvmkd_rt_pool_bytes; 0, or an errno. */
int tvmkd_rt_pool_start(tvmkd_pool *pool, int threads, const int32_t *cpus, int64_t spin_ns,
                        unsigned char *scratch, uint64_t scratch_bytes) {
  pool->spin_ns = spin_ns;
  for (int number = 0; number < threads; number++) {
    worker *each = &pool->workers[number];
    each->pool = pool;
    each->number = number;
    each->cpu = cpus ? cpus[number] : -1;
    each->scratch = each->top = scratch + (uint64_t)number * scratch_bytes;
    each->end = each->scratch + scratch_bytes;
  }
  for (pool->threads = 1; pool->threads < threads; pool->threads++) {
    worker *each = &pool->workers[pool->threads];
    int error = pthread_create(&each->thread, NULL, work, each);
    if (error) {
      tvmkd_rt_pool_stop(pool);
      return error;
    }
    pthread_setname_np(each->thread, "tvmkd-worker"); /* for top -H; may fail without /proc */
  }
  return 0;
}

void tvmkd_rt_pool_stop(tvmkd_pool *pool) {
  atomic_store(&pool->stop, 1);
  atomic_fetch_add(&pool->loop, 1);
  futex_wake(&pool->loop, MOST_THREADS);
  for (int number = 1; number < pool->threads; number++)
    pthread_join(pool->workers[number].thread, NULL);
}

/* Makes the calling thread the first worker until it leaves. */
void tvmkd_rt_pool_enter(tvmkd_pool *pool) {
  worker *mine = &pool->workers[0];
  if (mine->cpu >= 0 && (!mine->thread || !pthread_equal(mine->thread, pthread_self()))) {
    mine->thread = pthread_self();
    pin(mine->cpu);
  }
  atomic_store_explicit(&pool->telling, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->told, 0, memory_order_relaxed);
  here = mine;
}

void tvmkd_rt_pool_leave(tvmkd_pool *pool) {
  worker *mine = &pool->workers[0];
  mine->top = mine->scratch; /* a kernel that failed may have kept some */
  here = NULL;
}

const char *tvmkd_rt_pool_reason(const tvmkd_pool *pool) {
  return atomic_load(&pool->told) ? pool->reason : NULL;
}

int tvmkd_rt_parallel(tvmkd_task_body *body, void *data, int wanted) {
  worker *mine = here;
  tvmkd_pool *pool = mine ? mine->pool : NULL;
  /* A loop inside a loop runs on the thread that it is on. */
  if (!pool || mine->number || pool->busy || pool->threads == 1 || wanted == 1) {
    tvmkd_group alone = {NULL, 1};
    return body(0, &alone, data);
  }
  uint32_t loop = atomic_load_explicit(&pool->loop, memory_order_relaxed) + 1;
  uint32_t count = (uint32_t)(wanted > 0 && wanted < pool->threads ? wanted : pool->threads);
  pool->body = body;
  pool->data = data;
  pool->env.count = (int32_t)count;
  pool->busy = 1;
  atomic_store_explicit(&pool->failed, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->left, count, memory_order_relaxed);
  for (int number = 0; number < pool->threads; number++)
    atomic_store_explicit(&pool->workers[number].taken, number < (int)count ? loop - 1 : loop,
                          memory_order_relaxed);
  atomic_store(&pool->loop, loop);
  if (atomic_load(&pool->sleeping)) futex_wake(&pool->loop, MOST_THREADS);
  uint32_t done = do_tasks(mine, 0, loop);
  uint32_t left = atomic_fetch_sub(&pool->left, done) - done;
  while (left) {
    if (!spun(&pool->left, left, pool->spin_ns)) {
      atomic_store(&pool->waiting, 1);
      if (atomic_load(&pool->left) == left) futex_wait(&pool->left, left);
      atomic_store(&pool->waiting, 0);
    }
    left = atomic_load(&pool->left);
  }
  pool->busy = 0;
  return atomic_load_explicit(&pool->failed, memory_order_relaxed) ? -1 : 0;
}

/* TVMBackendAllocWorkspace: kernels give scratch memory back in the opposite order. */
static void *take(int device_type, int device_id, uint64_t bytes, int code, int bits) {
  (void)device_type, (void)device_id, (void)code, (void)bits;
  worker *mine = here;
  uint64_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  if (!mine || size > (uint64_t)(mine->end - mine->top)) return NULL;
  void *found = mine->top;
  mine->top += size;
  return found;
}

static int give_back(int device_type, int device_id, void *place) {
  (void)device_type, (void)device_id;
  if (here && (unsigned char *)place < here->top) here->top = place;
  return 0;
}

/* What a kernel calls before it returns -1: the parts of its message one after the other. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  (void)kind;
  tvmkd_pool *pool = here ? here->pool : NULL;
  if (!pool || atomic_exchange(&pool->telling, 1)) return; /* the first one counts */
  size_t used = 0;
  for (int32_t number = 0; number < count; number++) {
    size_t length = strlen(parts[number]);
    if (length > sizeof pool->reason - 1 - used) length = sizeof pool->reason - 1 - used;
    memcpy(pool->reason + used, parts[number], length);
    used += length;
  }
  pool->reason[used] = 0;
  atomic_store(&pool->told, 1);
}

/* Kernels call through these; their own definitions are weak. */
void *__TVMBackendParallelLaunch = (void *)tvmkd_rt_parallel;
void *__TVMBackendAllocWorkspace = (void *)take;
void *__TVMBackendFreeWorkspace = (void *)give_back;
