/* TVMBackendParallelLaunch for a TVM whose own runs everything on one thread.
 *
 * hhb-tvm 3.2.3 is built with OpenMP and asks it for one thread, whatever TVM_NUM_THREADS says. The
 * kernels of such a build call whatever has this name in the process's global scope when the library
 * is loaded: this one, where it was there first.
 *
 * As in upstream's own pool, a worker stays on its CPU. The calling thread is not pinned, since what
 * it starts later would be too, but moved off a worker's CPU when it is found there: OpenMP leaves
 * both on one now and then, and a network then takes half as long again. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_THREADS 64
#define SPINS 20000 /* half a millisecond or so, then a worker sleeps */

typedef struct {
  void* sync_handle;
  int32_t num_task;
} TVMParallelGroupEnv;
typedef int (*FTVMParallelLambda)(int task_id, TVMParallelGroupEnv* penv, void* cdata);

struct barrier {
  int32_t here, phase;
};

static struct {
  _Alignas(64) uint32_t generation; /* one more for each launch */
  _Alignas(64) uint32_t sleeping;
  _Alignas(64) int32_t left; /* workers that are not done */
  _Alignas(64) FTVMParallelLambda lambda;
  void* cdata;
  TVMParallelGroupEnv env;
  int failed;
  int threads;
  int cpus[MOST_THREADS]; /* of each thread, the caller's first; -1: not pinned */
  cpu_set_t allowed;
  pid_t owner; /* a child that was forked has no workers */
  pthread_mutex_t one;
} pool = {.one = PTHREAD_MUTEX_INITIALIZER};

static void rest(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int most_threads(void) {
  const char* said = getenv("TVM_NUM_THREADS");
  if (!said) said = getenv("OMP_NUM_THREADS");
  /* As upstream: half of what is there, taking the other half for hyper-threads. */
  int found = said ? atoi(said) : (int)sysconf(_SC_NPROCESSORS_ONLN) / 2;
  return found < 1 ? 1 : found < MOST_THREADS ? found : MOST_THREADS;
}

static void* work(void* arg) {
  int id = (int)(intptr_t)arg;
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; __atomic_load_n(&pool.generation, __ATOMIC_ACQUIRE) == seen;) {
      if (spins++ < SPINS) {
        rest();
        continue;
      }
      __atomic_add_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
      syscall(SYS_futex, &pool.generation, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
      __atomic_sub_fetch(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
      spins = 0;
    }
    seen++;
    if (id < pool.env.num_task && pool.lambda(id, &pool.env, pool.cdata) != 0)
      __atomic_store_n(&pool.failed, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&pool.left, 1, __ATOMIC_RELEASE);
  }
  return NULL;
}

static void pin(pthread_t thread, int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  pthread_setaffinity_np(thread, sizeof only, &only);
}

static void start(void) {
  int wanted = most_threads(), found = 0;
  pool.generation = pool.sleeping = 0;
  pool.owner = getpid();
  sched_getaffinity(0, sizeof pool.allowed, &pool.allowed);
  for (int id = 0; id < wanted; id++) pool.cpus[id] = -1;
  if (CPU_COUNT(&pool.allowed) >= wanted)
    for (int cpu = 0; cpu < CPU_SETSIZE && found < wanted; cpu++)
      if (CPU_ISSET(cpu, &pool.allowed)) pool.cpus[found++] = cpu;
  for (pool.threads = 1; pool.threads < wanted; pool.threads++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void*)(intptr_t)pool.threads) != 0) return;
    if (pool.cpus[pool.threads] >= 0) pin(thread, pool.cpus[pool.threads]);
    pthread_detach(thread);
  }
}

static void leave_the_workers_cpus(void) {
  int here = sched_getcpu();
  for (int id = 1; id < pool.threads; id++)
    if (pool.cpus[id] == here) {
      pin(pthread_self(), pool.cpus[0]);
      pthread_setaffinity_np(pthread_self(), sizeof pool.allowed, &pool.allowed);
      return;
    }
}

int TVMBackendParallelLaunch(FTVMParallelLambda lambda, void* cdata, int num_task) {
  struct barrier barrier = {0, 0};
  /* A launch within a launch, or beside another thread's, runs on the thread that it is on. */
  int mine = pthread_mutex_trylock(&pool.one) == 0;
  if (mine && pool.owner != getpid()) start();
  int most = mine ? pool.threads : 1;
  TVMParallelGroupEnv env = {&barrier, num_task > 0 && num_task < most ? num_task : most};
  if (env.num_task == 1) {
    if (mine) pthread_mutex_unlock(&pool.one);
    return lambda(0, &env, cdata);
  }
  leave_the_workers_cpus();
  pool.lambda = lambda;
  pool.cdata = cdata;
  pool.env = env;
  pool.failed = 0;
  __atomic_store_n(&pool.left, pool.threads - 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&pool.generation, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool.sleeping, __ATOMIC_SEQ_CST))
    syscall(SYS_futex, &pool.generation, FUTEX_WAKE_PRIVATE, MOST_THREADS, NULL, NULL, 0);
  int failed = lambda(0, &pool.env, cdata) != 0;
  for (int spins = 0; __atomic_load_n(&pool.left, __ATOMIC_ACQUIRE);)
    if (spins++ < SPINS) {
      rest();
    } else {
      sched_yield(); /* more threads than CPUs */
    }
  failed |= pool.failed;
  pthread_mutex_unlock(&pool.one);
  return failed ? -1 : 0;
}

int TVMBackendParallelBarrier(int task_id, TVMParallelGroupEnv* penv) {
  (void)task_id;
  struct barrier* shared = penv->sync_handle;
  int32_t phase = __atomic_load_n(&shared->phase, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&shared->here, 1, __ATOMIC_ACQ_REL) == penv->num_task) {
    __atomic_store_n(&shared->here, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&shared->phase, 1, __ATOMIC_RELEASE);
  } else {
    while (__atomic_load_n(&shared->phase, __ATOMIC_ACQUIRE) == phase) rest();
  }
  return 0;
}
