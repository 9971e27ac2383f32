/* TVMBackendParallelLaunch for a TVM whose own runs everything on one thread.
 *
 * hhb-tvm 3.2.3 is built with OpenMP and asks it for one thread, whatever TVM_NUM_THREADS says. The
 * kernels of such a build call whatever has this name in the process's global scope when the library
 * is loaded: this one, where it was there first. OpenMP is the one that TVM itself has brought. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
  void* sync_handle;
  int32_t num_task;
} TVMParallelGroupEnv;
typedef int (*FTVMParallelLambda)(int task_id, TVMParallelGroupEnv* penv, void* cdata);

struct launch {
  FTVMParallelLambda lambda;
  void* cdata;
  TVMParallelGroupEnv env;
  int failed;
};

static void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
static int (*thread_num)(void);

static int most_threads(void) {
  static int count;
  if (!count) {
    const char* said = getenv("TVM_NUM_THREADS");
    if (!said) said = getenv("OMP_NUM_THREADS");
    /* As upstream: half of what is there, taking the other half for hyper-threads. */
    int found = said ? atoi(said) : (int)sysconf(_SC_NPROCESSORS_ONLN) / 2;
    count = found > 0 ? found : 1;
  }
  return count;
}

static void run(void* arg) {
  struct launch* all = arg;
  if (all->lambda(thread_num(), &all->env, all->cdata) != 0) __atomic_store_n(&all->failed, 1, 5);
}

int TVMBackendParallelLaunch(FTVMParallelLambda lambda, void* cdata, int num_task) {
  int most = most_threads();
  if (most > 1 && !parallel) {
    thread_num = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    parallel = (void (*)(void (*)(void*), void*, unsigned, unsigned))dlsym(RTLD_DEFAULT, "GOMP_parallel");
  }
  int count = num_task > 0 && num_task < most ? num_task : most;
  if (!parallel || !thread_num) count = 1;
  int32_t barrier = 0;
  struct launch all = {lambda, cdata, {&barrier, count}, 0};
  if (count == 1) return lambda(0, &all.env, cdata);
  parallel(run, &all, (unsigned)count, 0);
  return all.failed ? -1 : 0;
}
