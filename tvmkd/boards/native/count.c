/* How many instructions a kernel takes, where the emulator counts them: see icount.c. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board.h"
#include "ffi.h"

static const volatile uint64_t* counter;

static const volatile uint64_t* map_counter(void) {
  const char* path = getenv("TVMKD_BOARD_ICOUNT");
  int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return NULL;
  void* mapped = mmap(NULL, sizeof *counter, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  return mapped == MAP_FAILED ? NULL : mapped;
}

bool count_available(void) { return counter != NULL; }

static int call(TVMFFIObjectHandle function, const TVMFFIAny* args, int32_t count,
                uint64_t* taken) {
  TVMFFIAny result = {0};
  uint64_t before = *counter;
  int code = TVMFFIFunctionCall(function, (TVMFFIAny*)args, count, &result);
  *taken = *counter - before;
  ffi_release(&result);
  return code;
}

/* (module, name, arguments...): runs the function twice and returns what the second run took. */
static int count_instructions(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self;
  if (count < 2 || args[0].type_index != kTVMFFIModule || ffi_chars(&args[1]) == NULL) {
    return ffi_raise("count_instructions takes a module, a function's name and its arguments");
  }
  TVMFFIAny ask[3] = {args[0], args[1], {.type_index = kTVMFFIBool, .v_int64 = 1}}, found;
  if (ffi_call("ffi.ModuleGetFunction", ask, 3, &found) != 0) return -1;
  if (found.type_index != kTVMFFIFunction) return ffi_raise("the module has no such function");
  uint64_t taken = 0;
  int code = call(found.v_obj, args + 2, count - 2, &taken); /* warms up */
  if (code == 0) code = call(found.v_obj, args + 2, count - 2, &taken);
  ffi_release(&found);
  if (code != 0) return code;
  *result = ffi_int((int64_t)taken);
  return 0;
}

void count_register(void) {
  counter = map_counter();
  if (counter != NULL) ffi_register("tvmkd.board.count_instructions", count_instructions);
}
