/* Ranges with names in the timeline of Nsight Systems (NVTX 3), while that watches the process.
 *
 * A profiler names a library of its own in NVTX_INJECTION64_PATH. Its one function gets a table of
 * places and writes its functions there. That protocol is declared here, so that no header of CUDA
 * is needed; names and numbers are those of nvtx3/nvtxDetail/nvtxTypes.h.
 * https://github.com/NVIDIA/NVTX */
#include <dlfcn.h>
#include <stdlib.h>

#include "cuda.h"

enum { CALLBACKS = 1, VERSION_INFO = 3 };         /* NvtxExportTableID */
enum { CORE = 1, MODULES = 7 };                   /* NvtxCallbackModule */
enum { RANGE_PUSH_A = 9, RANGE_POP = 11 };        /* NvtxCallbackIdCore */
enum { MOST_FUNCTIONS = 16, NVTX_VERSION = 3 };

typedef void (*function)(void);
typedef const void *(*get_table)(uint32_t which);

/* How many functions each module has; a profiler may ask for all of them. */
static const unsigned counts[MODULES] = {0, 16, 9, 15, 7, 16, 7};
static function functions[MODULES][MOST_FUNCTIONS];
static function *places[MODULES][MOST_FUNCTIONS];

static int give_module(int module, function ***table, unsigned *count) {
  if (module <= 0 || module >= MODULES) return 0;
  for (unsigned each = 1; each < counts[module]; each++)
    places[module][each] = &functions[module][each];
  if (table) *table = places[module];
  if (count) *count = counts[module];
  return 1;
}

static void take_version(uint32_t version) { (void)version; }

static const struct {
  size_t size;
  int (*module)(int, function ***, unsigned *);
} callbacks = {sizeof callbacks, give_module};

static const struct {
  size_t size;
  uint32_t version, reserved;
  void (*take)(uint32_t);
} version_info = {sizeof version_info, NVTX_VERSION, 0, take_version};

static const void *give_table(uint32_t which) {
  return which == CALLBACKS ? (const void *)&callbacks
         : which == VERSION_INFO ? (const void *)&version_info
                                 : NULL;
}

static void find_profiler(void) {
  const char *path = getenv("NVTX_INJECTION64_PATH");
  void *library = path && *path ? dlopen(path, RTLD_LAZY | RTLD_LOCAL) : NULL;
  if (!library) return;
  int (*start)(get_table);
  *(void **)&start = dlsym(library, "InitializeInjectionNvtx2");
  if (start && start(give_table)) return; /* it stays loaded */
  functions[CORE][RANGE_PUSH_A] = functions[CORE][RANGE_POP] = NULL;
  dlclose(library);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Begins a range, if a profiler watches; its name is NULL for none. */
void tvmkd_nvtx_push(const char *name) {
  pthread_once(&once, find_profiler);
  int (*push)(const char *) = (int (*)(const char *))functions[CORE][RANGE_PUSH_A];
  if (name && push) push(name);
}

/* Ends the range of that name. */
void tvmkd_nvtx_pop(const char *name) {
  int (*pop)(void) = (int (*)(void))functions[CORE][RANGE_POP];
  if (name && pop) pop();
}
