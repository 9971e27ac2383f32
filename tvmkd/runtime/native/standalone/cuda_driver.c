/* Opens NVIDIA's driver, and names its errors. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cuda.h"

static cuda_driver functions;
static int ready;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A message has one line, whatever a driver's log holds. */
void tvmkd_cuda_say(char *message, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(message, MESSAGE, format, values);
  va_end(values);
  message[strcspn(message, "\r\n")] = 0;
}

static int open_driver(char *message) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    tvmkd_cuda_say(message, "no NVIDIA driver here: %s", dlerror());
    return 0;
  }
  const char *missing = NULL;
#define FIND(name, ...)                                    \
  *(void **)&functions.name = dlsym(library, #name); \
  if (!functions.name && !missing) missing = #name;
  NEEDED_FUNCTIONS(FIND)
#undef FIND
#define FIND(name, ...) *(void **)&functions.name = dlsym(library, #name);
  OPTIONAL_FUNCTIONS(FIND)
#undef FIND
  if (missing) {
    tvmkd_cuda_say(message, "the NVIDIA driver here is too old: it has no %s", missing);
    dlclose(library);
    return 0;
  }
  int count = 0, code = functions.cuInit(0);
  if (code) {
    tvmkd_cuda_say(message, "the NVIDIA driver does not start: cuInit: %s",
                   tvmkd_cuda_name(&functions, code));
  } else if (functions.cuDeviceGetCount(&count) || !count) {
    tvmkd_cuda_say(message, "the NVIDIA driver finds no GPU here");
  } else {
    return 1; /* the library stays open: drivers are never unloaded */
  }
  return 0;
}

/* The driver, or NULL and the reason why there is none. */
const cuda_driver *tvmkd_cuda_driver(char *message) {
  pthread_mutex_lock(&lock);
  if (!ready) ready = open_driver(message);
  pthread_mutex_unlock(&lock);
  return ready ? &functions : NULL;
}

const char *tvmkd_cuda_name(const cuda_driver *driver, int code) {
  const char *name = NULL;
  return driver->cuGetErrorName(code, &name) || !name ? "an error without a name" : name;
}

/* A number of CUdevice_attribute; 0 where the driver does not know it. */
int tvmkd_cuda_attribute(const cuda_driver *driver, int which, int device) {
  int value = 0;
  return driver->cuDeviceGetAttribute(&value, which, device) ? 0 : value;
}

tvmkd_status tvmkd_cuda_fail(const cuda_driver *driver, char *message, const char *function,
                             int code) {
  enum { CUDA_OUT_OF_MEMORY = 2 };
  tvmkd_cuda_say(message, "%s: %s", function, tvmkd_cuda_name(driver, code));
  return code == CUDA_OUT_OF_MEMORY ? TVMKD_NO_MEMORY : TVMKD_FAILED;
}
