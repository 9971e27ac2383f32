/* Kernels that behave badly, for tests of the boards' server. */
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

#define KERNEL(name) \
  int __tvm_ffi_##name(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result)

KERNEL(twice) {
  (void)self, (void)count;
  result->type_index = kTVMFFIInt;
  result->v_int64 = 2 * args[0].v_int64;
  return 0;
}

/* args[0] times around a loop: so many instructions and a constant. */
KERNEL(loop) {
  (void)self, (void)count, (void)result;
  for (volatile int64_t i = 0; i < args[0].v_int64; ++i) {
  }
  return 0;
}

KERNEL(hang) {
  (void)self, (void)args, (void)count, (void)result;
  for (;;) pause();
}

KERNEL(crash) {
  (void)self, (void)args, (void)count, (void)result;
  abort();
}

static char* volatile kept; /* or the compiler sees that nobody needs the memory */

/* Takes memory until there is none: args[0] MiB at most. */
KERNEL(fill) {
  (void)self, (void)count;
  result->type_index = kTVMFFIInt;
  result->v_int64 = 0;
  for (int64_t i = 0; i < args[0].v_int64; ++i) {
    char* page = malloc(1 << 20);
    if (page == NULL) break;
    memset(page, 1, 1 << 20);
    kept = page;
    ++result->v_int64;
  }
  return 0;
}
